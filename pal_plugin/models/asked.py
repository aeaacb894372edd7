"""Checks callers' arguments besides the batch, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pal_plugin.audio.io import is_one_clip
from pal_plugin.config.ranges import kind_of

_SEVERAL = "model.generate({'audio': [clip, ...], 'text_input': [question, ...]})"


def check_clip(audio: Any) -> None:
    """Raises ValueError if `audio` is not a clip, or several (also in a list of one)."""
    if audio is None or (isinstance(audio, str | Mapping) and not audio):
        raise ValueError(
            f"the clip is {audio!r}; expected a path, an (array, rate in Hz) pair, or the output "
            "of model.encode for one clip. To ask without audio: samples['audio_mask'] of "
            "model.generate"
        )
    # An invalid rate is reported by the audio loader.
    array = isinstance(audio, list | tuple) and audio and hasattr(audio[0], "shape")
    pair = array and len(audio) == 2 and not hasattr(audio[1], "shape")
    if isinstance(audio, list | tuple) and not pair and not is_one_clip(audio):
        raise ValueError(
            f"expected one clip, got a {type(audio).__name__} of {len(audio)}; for several clips: "
            f"{_SEVERAL}"
        )


def check_question(question: Any) -> None:
    """Raises ValueError if it is not text; `questions_of` reports blank ones."""
    if isinstance(question, list | tuple):
        raise ValueError(
            f"expected one question, got a {type(question).__name__} of {len(question)}; for "
            f"several questions about one clip: {_SEVERAL}"
        )
    if not isinstance(question, str):
        raise ValueError(f"the question is {question!r}; expected text")


def check_candidates(candidates: Any) -> Sequence[str]:
    """The candidates as a list.

    Raises:
        ValueError: if it is not a list or empty, or an entry is not text or blank.
    """
    if isinstance(candidates, str) or not hasattr(candidates, "__iter__"):
        raise ValueError(f"candidates is {candidates!r}; expected a list of texts")
    candidates = list(candidates)
    if not candidates:
        raise ValueError("candidates is empty; expected at least one text")
    for number, text in enumerate(candidates):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"candidates[{number}] is {text!r}; expected text")
    return candidates


def check_generation(max_new_tokens: Any, generation: Mapping[str, Any]) -> None:
    """Raises ValueError for arguments of `generate` outside the range of their keys in `run:`."""
    given = {f"generation.{name}": value for name, value in generation.items()}
    for name, value in {"max_new_tokens": max_new_tokens, **given}.items():
        kind = kind_of(f"run.{name}")
        if kind is not None and not kind.holds(value):
            raise ValueError(f"{name.rpartition('.')[2]} is {value!r}; expected {kind}")
