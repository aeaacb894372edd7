"""A batch's clips as flat tensors with names of ours, and back to what `AudioLLM` takes.

The names must not be transformers' (`input_features`, ...): from 5.15 on its `generate` drops those
behind the prefill.

    pal_clip_index     Long [R, K]  the clip at each place of a row; -1: none
    pal_clip_places    Long [R, K]  text tokens in front of it
    pal_windows_NAME   Long [C]     windows of each clip, by encoder
    pal_frames_NAME    Long [W]     frames of each window
    pal_features_NAME  [W, ...]     windows of all clips, one behind the other
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pal_plugin.audio.features import Features
from pal_plugin.batch import Batch
from pal_plugin.integration.routing import ClipPlaces
from pal_plugin.models.conversations import Conversations

PREFIX = "pal_"
INDEX, PLACES = "pal_clip_index", "pal_clip_places"
_PARTS = ("windows", "frames", "features")
_CUT = (
    "; was the batch cut or put together behind the processor? With an iterable dataset on several "
    "processes: TrainingArguments(accelerator_config={'dispatch_batches': False}); in a pipeline: "
    "no batch_size"
)


def flat(audio: Features, places: ClipPlaces) -> dict[str, Tensor]:
    """The tensors of a batch.

    Args:
        audio: as `AudioFrontend.collate` gives it.
        places: the clips of each row.
    """
    found = {INDEX: places.index, PLACES: places.places}
    for name, entry in audio.items():
        found |= {f"{PREFIX}{part}_{name}": entry[part] for part in _PARTS}
    return found


def samples(
    ids: Tensor, mask: Tensor, given: Mapping[str, Tensor | None], dtypes: Mapping[str, torch.dtype]
) -> Batch:
    """What `AudioLLM.prompts` and `hidden_states` take.

    Args:
        ids, mask: `[R, n]`, padded on either side.
        given: the tensors of `flat`; none at all: text alone.
        dtypes: of each encoder, which its features are brought to.

    Raises:
        ValueError: tensors are missing, unknown, or not of one batch.
    """
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    rows = [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]
    learned = [[False] * len(row) for row in rows]
    if not given:
        return {"messages": (), "conversations": Conversations(rows, learned, None, None)}
    names = {f"{PREFIX}{part}_{name}": (name, part) for name in dtypes for part in _PARTS}
    expected = {INDEX, PLACES, *names}
    if given.keys() != expected:
        raise ValueError(
            f"the tensors of the clips lack {sorted(expected - given.keys())} and have the unknown "
            f"{sorted(given.keys() - expected)}; expected what PalProcessor returns"
        )
    audio: dict[str, dict[str, Any]] = {name: {} for name in dtypes}
    for key, (name, part) in names.items():
        tensor = given[key]
        audio[name][part] = tensor.to(dtypes[name]) if part == "features" else tensor
    _check(audio, given[INDEX], given[PLACES], len(rows))
    places = ClipPlaces(given[INDEX].to(ids.device), given[PLACES].to(ids.device))
    return {
        "messages": (),
        "audio": audio,
        "conversations": Conversations(rows, learned, None, places),
    }


def _check(audio: Features, index: Tensor, places: Tensor, rows: int) -> None:
    clips = {len(entry["windows"]) for entry in audio.values()}
    if len(clips) > 1 or index.shape != places.shape or len(index) != rows:
        raise ValueError(
            f"{rows} rows, clips at places {tuple(index.shape)} and {tuple(places.shape)}, and "
            f"windows of {sorted(clips)} clips are not of one batch{_CUT}"
        )
    count, named = max(clips), set(index[index >= 0].tolist())
    if named != set(range(count)):
        raise ValueError(
            f"the rows have the clips {sorted(named)}, and there are {count}, numbered "
            f"0..{count - 1}{_CUT}"
        )
    for name, entry in audio.items():
        expected = int(entry["windows"].sum())
        if {len(entry["frames"]), len(entry["features"])} != {expected}:
            raise ValueError(
                f"the clips have {expected} windows of {name}, and there are "
                f"{len(entry['features'])}{_CUT}"
            )
