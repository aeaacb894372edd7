"""What a request asks: its messages as token ids, and its clips by hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pal_plugin.audio.identity import identified
from pal_plugin.llm.conversation import Turns, read_messages
from pal_plugin.models.audio_llm import AudioLLM


def prompt_of(model: AudioLLM, messages: Sequence[Mapping[str, Any]], mute: bool = False) -> Turns:
    """The conversation up to its answer; each of its `clips` is `(hash, (array, rate in Hz))`.

    Args:
        messages: as in a `Request`.
        mute: without the clips: to mask all of the audio is to have none.

    Raises:
        ValueError: malformed messages, an answer at their end, or a clip that is not decoded.
    """
    turns = read_messages(model.text, messages, model.audio_place)
    if turns.learned[-1]:
        raise ValueError("the conversation ends with an answer; expected a user message at its end")
    for clip in turns.clips:
        if not isinstance(clip, tuple | list) or len(clip) != 2 or isinstance(clip[0], str):
            raise ValueError(
                f"a clip is a {type(clip).__name__}; expected it decoded, as (array, rate in Hz)"
            )
    if mute:
        return replace(turns, clips=[], places=[])
    return replace(turns, clips=[identified(clip) for clip in turns.clips])
