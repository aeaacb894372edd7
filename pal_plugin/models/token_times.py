"""When the audio tokens of a clip sound, in seconds.

Design choice: times take the way of the tokens. Each token of a whole window gets its share of the
window, and `merge_windows` joins these shares as it joins the tokens, overlaps included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pal_plugin.encoders.base import AudioEncoder, encoder_of
from pal_plugin.models.audio_llm import AudioLLM, EncodedAudio
from pal_plugin.models.windows import merge_windows, overlap_of
from pal_plugin.types import AudioTokens


@torch.no_grad()
def encode_with_times(
    model: AudioLLM, clips: Sequence[Any]
) -> tuple[EncodedAudio, dict[str, Tensor]]:
    """Encodes clips, and says when each token begins and ends.

    Args:
        clips: C clips, as in `samples["audio"]`.

    Returns:
        `model.encode_audio` for the clips, and by group `[C, N, 2]`: seconds from the start of the
        clip to the first moment that a token stands for, and to the last. Encoders attend to the
        whole of a window, so what a token knows may come from outside of its time. The last token
        may end behind the clip. Tokens without a place in time (those of a Q-Former) have that of
        their window.
    """
    audio = model.frontend.joined({"audio": list(clips)})
    with _inputs_of(model.connectors) as read:
        encoded = model.encode_audio({"audio": audio})
    times = {}
    for group, connector in model.connectors.items():
        names = model.groups[group]
        encoders = [model.encoders[encoder_of(name)] for name in names]
        features = [model.frontend.features[encoder_of(name)] for name in names]
        one = {name: _whole_window(read[group][name]) for name in names}
        shares, grid = _shares(connector, encoders[0], one)
        windows = audio[encoder_of(names[0])]["windows"]
        starts = torch.cat([torch.arange(count) for count in windows.tolist()])
        starts = starts * (features[0].window_s - features[0].overlap_s)
        seconds = starts[:, None, None] + shares * encoders[0].span_s  # [W, K, 2]
        mask = torch.ones(seconds.shape[:2], dtype=torch.bool)
        overlap = overlap_of(connector, encoders, features, one[names[0]])
        merged = merge_windows(AudioTokens(seconds, mask, grid), windows, overlap).features
        count = encoded[group].mask.shape[1]
        behind = max(0, count - merged.shape[1])  # masked columns, see `AudioLLM.columns_in`
        times[group] = nn.functional.pad(merged[:, :count], (0, 0, 0, behind))
    return encoded, times


@contextmanager
def _inputs_of(connectors: Mapping[str, nn.Module]) -> Iterator[dict[str, dict[str, AudioTokens]]]:
    """What each connector is given, by group and encoder, once it has been called."""
    taken: dict[str, dict[str, AudioTokens]] = {}

    def keep(group: str):
        return lambda _module, args: taken.update({group: args[0]})

    hooks = [c.register_forward_pre_hook(keep(group)) for group, c in connectors.items()]
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()


def _whole_window(tokens: AudioTokens) -> AudioTokens:
    """The first window of an encoder, of which no connector trims the end."""
    mask = torch.ones_like(tokens.mask[:1])
    return replace(tokens, features=tokens.features[:1], mask=mask, lengths=None)


def _shares(
    connector: nn.Module, encoder: AudioEncoder, one: dict[str, AudioTokens]
) -> tuple[Tensor, tuple[int, int] | None]:
    """Where the K tokens of a whole window begin and end, `[K, 2]` from 0 to 1, and their grid."""
    made = connector(one)
    count = made.features.shape[1]
    column = torch.arange(count)
    if not getattr(connector, "in_time_order", True):
        return torch.tensor([[0.0, 1.0]]).repeat(count, 1), None
    if made.grid is not None:
        rows = made.grid[0]
        first = column // (count // rows)
        last = first + 1
    elif hasattr(connector, "pool"):  # runs of cells
        cells = next(iter(one.values())).features.shape[1]
        rows = encoder.grid[0] if encoder.grid else cells
        first = column * connector.pool // (cells // rows)
        last = -(-((column + 1) * connector.pool).clamp(max=cells) // (cells // rows))
    else:
        rows, first, last = count, column, column + 1
    return torch.stack([first, last], 1) / rows, made.grid
