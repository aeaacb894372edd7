"""What lmms-eval asks for, in our terms. Nothing here imports it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pal_plugin.batch import Batch

#: As in lmms-eval's own audio models, for tasks that name no limit.
NEW_TOKENS = 256


@dataclass(frozen=True)
class Prompt:
    """A question with its clips, which stand in front of the text.

    Args:
        text: lmms-eval's context.
        clips: what a task's `doc_to_visual` gives: `{"array", "sampling_rate"}`, paths; none: a
            question on text alone.
    """

    text: str
    clips: tuple[Any, ...] = ()


def prompt_of(text: str, clips: Any) -> Prompt:
    """A prompt of a context and of what `doc_to_visual` gave for its document.

    Raises:
        ValueError: the clips are not in a list, or one of them is empty.
    """
    if clips is not None and not isinstance(clips, list | tuple):
        raise ValueError(
            f"doc_to_visual gave a {type(clips).__name__}; expected a list of clips: [doc['audio']]"
        )
    if any(clip is None for clip in clips or ()):
        raise ValueError(f"doc_to_visual gave {len(clips)} clips, one of them None")
    return Prompt(text, tuple(clips or ()))


def batch_of(prompts: Sequence[Prompt], mask_audio: bool = False) -> Batch:
    """The prompts as conversations, for `AudioLLM`; the same object is one clip.

    Args:
        mask_audio: keep the audio out of the attention: the control of an evaluation.
    """
    clips: dict[int, Any] = {id(clip): clip for prompt in prompts for clip in prompt.clips}
    numbers = {key: number for number, key in enumerate(clips)}
    messages = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "audio", "audio": numbers[id(clip)]} for clip in prompt.clips),
                    {"type": "text", "text": prompt.text},
                ],
            }
        ]
        for prompt in prompts
    ]
    batch: Batch = {"messages": messages}
    if clips:
        batch["audio"] = [*clips.values()]
    if mask_audio:
        batch["audio_mask"] = [False] * len(prompts)
    return batch


def generation_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of `completion.complete` for a task's `generation_kwargs`.

    `until` becomes `stop`. As in lmms-eval's own models a temperature above 0 samples unless
    `do_sample` says otherwise, and without sampling what only concerns it is left out.

    Args:
        given: of the task; what is not known here is transformers' to judge.
    """
    settings = {name: value for name, value in (given or {}).items() if value is not None}
    until = settings.pop("until", [])
    stop = [until] if isinstance(until, str) else list(until)
    samples = settings.pop("do_sample", settings.get("temperature", 0) > 0)
    if not samples:
        for name in ("temperature", "top_p", "top_k"):
            settings.pop(name, None)
    return {
        "max_new_tokens": NEW_TOKENS,
        **settings,
        "do_sample": samples,
        "stop": [text for text in stop if text],
    }


def batches(keys: Iterable[Any], size: int) -> Iterator[list[int]]:
    """Indices of entries with equal keys, at most `size` at a time, in their order.

    Args:
        keys: one for each entry; compared by their text, since they hold lists.
    """
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(repr(key), []).append(index)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
