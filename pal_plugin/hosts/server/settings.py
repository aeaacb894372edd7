"""All limits of the server and how it is reached, in one object; `pal serve --help` lists it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from pal_plugin.corpora.prompts import TRANSCRIBE
from pal_plugin.utils.errors import ConfigError


def _limit(default: Any, unit: str, about: str, status: int) -> Any:
    """A limit that is an option of `pal serve`, and the status of what is beyond it."""
    return field(default=default, metadata={"unit": unit, "about": about, "status": status})


@dataclass(frozen=True)
class Limits:
    """What one request, and all together, may take; beyond it the status that `about` names."""

    max_body: int = _limit(32, "MIB", "size of a request's body", 413)
    max_seconds: int = _limit(600, "S", "audio of a request, decoded", 413)
    max_clips: int = _limit(16, "N", "clips of a request", 400)
    max_text: int = _limit(100_000, "N", "characters of a request's texts", 400)
    max_choices: int = _limit(8, "N", "answers to a request (n)", 400)
    max_tokens: int = _limit(
        256, "N", "length of an answer in tokens; also the default of max_tokens", 400
    )
    max_batch: int = _limit(16, "N", "answers that are generated at a time", 429)
    max_waiting: int = _limit(64, "N", "answers that wait for a place", 429)
    max_time: int = _limit(120, "S", "time from a request to the end of its answer", 504)
    max_upload: int = _limit(30, "S", "time that the body of a request may take to come", 408)
    max_decoding: int = _limit(20, "S", "time that decoding one clip may take", 400)
    max_stopping: int = _limit(30, "S", "time for running requests after SIGTERM", 503)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            least = 0 if one.name == "max_waiting" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{option(one.name)} is {value!r}; expected a whole number from {least} on"
                )


@dataclass(frozen=True)
class Settings:
    """How the server is reached, and what it does.

    Args:
        name: the model's name in requests and answers.
        key: the API key that requests must carry; None: none.
        hosts: values of the Host header that are answered, without port; None: all.
        urls: hosts (`name` or `name:port`) from which clips may be fetched.
        question: what `/v1/audio/transcriptions` asks the model about a clip.
        limits: see there.
    """

    name: str
    key: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] | None = None
    urls: tuple[str, ...] = ()
    question: str = TRANSCRIBE
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.key is not None and not (
            self.key and self.key.isascii() and self.key.isprintable()
        ):
            raise ConfigError("the API key is empty or not printable ASCII; expected a long one")
        if not self.question.strip():
            raise ConfigError("--transcription-question is empty; expected a question")


def option(name: str) -> str:
    """The option of `pal serve` that sets a limit."""
    return f"--{name.replace('_', '-')}"
