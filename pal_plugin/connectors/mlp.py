"""MLP connector: every token (or every pooled run of tokens) is projected on its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pal_plugin.types import AudioTokens


class MLP(nn.Module):
    """Linear-GELU-Linear per token, after joining `pool` neighbouring tokens by concatenation.

    Args:
        widths: `{encoder: width}` of the one encoder it reads.
        grids: `{encoder: grid}`; not used, part of the connectors' common constructor.
        out_width: width of the LLM.
        hidden: width of the hidden layer; None means `out_width`.
        pool: tokens joined into one. A joined token is valid if its first member is, so that the
            last partial run of a clip is kept; its missing members are zero.
    """

    def __init__(
        self,
        widths: dict[str, int],
        grids: dict[str, tuple[int, int] | None],
        out_width: int,
        hidden: int | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        if len(widths) != 1:
            raise ValueError(f"the mlp connector reads one encoder, got {sorted(widths)}")
        self.pool = pool
        hidden = hidden or out_width
        self.norm = nn.LayerNorm(next(iter(widths.values())))
        self.fc1 = nn.Linear(next(iter(widths.values())) * pool, hidden)
        self.fc2 = nn.Linear(hidden, out_width)

    def forward(self, tokens: dict[str, AudioTokens]) -> AudioTokens:
        """`{encoder: [W, N, D]}` -> `[W, ceil(N / pool), out_width]`."""
        (audio,) = tokens.values()
        mask = _pad_to_multiple(audio.mask, self.pool)
        features = self.norm(torch.where(audio.mask[..., None], audio.features, 0))
        features = torch.where(audio.mask[..., None], features, 0)
        features = _pad_to_multiple(features, self.pool)
        features = features.unflatten(1, (-1, self.pool)).flatten(2)
        hidden = nn.functional.gelu(self.fc1(features))
        return AudioTokens(self.fc2(hidden), mask.unflatten(1, (-1, self.pool))[..., 0])


def _pad_to_multiple(tensor: Tensor, multiple: int) -> Tensor:
    """Zeros (False) after the last token, along dimension 1."""
    missing = -tensor.shape[1] % multiple
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1)
