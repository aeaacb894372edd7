"""PLITS, LAL and PAL side by side, each loaded when it is first asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pal_plugin.config.zoo import type_section
from pal_plugin.hosts.page.asking import MAX_NEW_TOKENS, answers
from pal_plugin.hosts.page.talk import Messages
from pal_plugin.hosts.page.transcript import answer
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.serving.engine import Engine
from pal_plugin.utils.locations import resolve

POCKET = {"PLITS": "plits", "LAL": "lal", "PAL": "pal"}
SMALL = {"PLITS": "small_plits", "LAL": "small", "PAL": "small_pal"}
NOTE = (
    "The three differ in their routing table alone, and were trained alike. Each is asked the last "
    "question with the clips so far, as one turn."
)
OF_POCKET = (
    " These are the pocket models, which know twelve kinds of made sounds and no real ones: what "
    "they say about a recording is a guess."
)


def types() -> dict[str, str]:
    """Model types by name: the small ones if all three have weights here, else the pocket ones."""
    return SMALL if all(map(_has_weights, SMALL.values())) else POCKET


def _has_weights(kind: str) -> bool:
    section = type_section(kind)
    try:
        places = [section["checkpoint"], section["llm"]["path"]]
        places += [encoder["checkpoint"] for encoder in section["encoders"].values()]
        return all(place is not None and Path(resolve(place)).exists() for place in places)
    except FileNotFoundError:
        return False


class Compared:
    """The three models, each with an engine of its own.

    Args:
        kinds: model types by name; None: `types()`.
        load: makes a model of a type.
        max_new_tokens: length limit of an answer.
    """

    def __init__(
        self,
        kinds: Mapping[str, str] | None = None,
        load: Callable[[str], AudioLLM] = AudioLLM.from_pretrained,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        self.kinds = dict(types() if kinds is None else kinds)
        self._load, self._max_new_tokens = load, max_new_tokens
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()

    @property
    def note(self) -> str:
        """What is compared."""
        return NOTE + (OF_POCKET if self.kinds == POCKET else "")

    def engine(self, kind: str) -> Engine:
        """The engine of a type; users that ask for it meanwhile wait until it is loaded."""
        with self._loading:
            if kind not in self._engines:
                self._engines[kind] = Engine(self._load(kind))
            return self._engines[kind]

    def ask(self, messages: Messages) -> Iterator[str]:
        """The answers as HTML while they come, one model after the other.

        Raises:
            ValueError: as `answers`.
        """
        said: dict[str, tuple[str, str]] = {}
        for name, kind in self.kinds.items():
            yield self._columns(said, name, "loading" if kind not in self._engines else "asking")
            for both in answers(self.engine(kind), messages, self._max_new_tokens):
                said[name] = both
                yield self._columns(said, name, "answering")
        yield self._columns(said)

    def close(self) -> None:
        """End the engines."""
        for engine in self._engines.values():
            engine.close(finish=False)

    def _columns(self, said: Mapping[str, Any], now: str = "", doing: str = "") -> str:
        columns = []
        for name, kind in self.kinds.items():
            heard, masked = said.get(name, ("", ""))
            state = f": {doing} …" if name == now else ""
            waiting = bool(now) and (name == now or name not in said)
            columns.append(
                f'<section class="pal-column"><h3>{name} <small>{kind}{state}</small></h3>'
                f"{answer('Answer', heard, waiting)}"
                f"{answer('Audio masked', masked, waiting, 'pal-masked')}</section>"
            )
        return f'<div class="pal-columns">{"".join(columns)}</div>'
