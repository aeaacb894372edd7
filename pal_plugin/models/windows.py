"""Long clips: the windows that an encoder saw one by one become one sequence per clip again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pal_plugin.types import AudioTokens


def merge_windows(tokens: AudioTokens, windows: Tensor) -> AudioTokens:
    """Join the windows of each clip in time order.

    Args:
        tokens: `[W, N, D]`, the windows of all clips one after the other.
        windows: Long `[C]`, windows per clip; they sum to W.

    Returns:
        `[C, max(windows) * N, D]`; tokens of windows that a clip does not have are masked.
    """
    counts = windows.tolist()
    if sum(counts) != len(tokens):
        raise ValueError(f"clips have {counts} windows, but there are {len(tokens)} rows of tokens")
    if max(counts) == 1:
        return tokens
    features = pad_sequence(
        [part.flatten(0, 1) for part in tokens.features.split(counts)], batch_first=True
    )
    mask = pad_sequence([part.flatten() for part in tokens.mask.split(counts)], batch_first=True)
    grid = tokens.grid and (tokens.grid[0] * max(counts), tokens.grid[1])
    return AudioTokens(features, mask.to(torch.bool), grid)
