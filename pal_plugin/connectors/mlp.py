"""MLP connector: projects every token (or every pooled run of tokens) independently.

"concat" pooling keeps all information and lets the first layer weight it; "mean" adds no width, as
in Qwen2-Audio (arXiv 2407.10759), which averages pairs before the final LayerNorm.
"""

from __future__ import annotations

import torch
from torch import nn

from pal_plugin.types import AudioTokens, runs_of

POOLINGS = ("concat", "mean")


class MLP(nn.Module):
    """Linear-GELU-Linear per token, after pooling `pool` neighbouring tokens.

    Args:
        widths: `{encoder: width}` of the single encoder it reads.
        grids: `{encoder: grid}`; unused, part of the connectors' common constructor.
        out_width: embedding width of the LLM.
        hidden: hidden width; None: `out_width`.
        pool: tokens per run. The last run of a clip is kept, however short.
        pooling: "concat": normalize tokens, then concatenate the channels of a run, zero-padded.
            "mean": average the valid tokens of a run, then normalize.

    Raises:
        ValueError: if there are several encoders, `pool` is below 1, or `pooling` is unknown.
    """

    def __init__(
        self,
        widths: dict[str, int],
        grids: dict[str, tuple[int, int] | None],
        out_width: int,
        hidden: int | None = None,
        pool: int = 1,
        pooling: str = "concat",
    ) -> None:
        super().__init__()
        if len(widths) != 1:
            raise ValueError(f"the mlp connector reads one encoder, got {sorted(widths)}")
        if pool < 1:
            raise ValueError(f"mlp: expected pool >= 1, got {pool}")
        if pooling not in POOLINGS:
            raise ValueError(f"mlp: unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
        self.pool, self.pooling = pool, pooling
        (width,) = widths.values()
        hidden = hidden or out_width
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width * pool if pooling == "concat" else width, hidden)
        self.fc2 = nn.Linear(hidden, out_width)

    def forward(self, tokens: dict[str, AudioTokens]) -> AudioTokens:
        """`{encoder: [W, N, D]}` -> `[W, ceil(N / pool), out_width]`, N trimmed to the longest
        window.

        A pooled token is valid if any of its members is.
        """
        (audio,) = tokens.values()
        audio = audio.trimmed(self.pool)
        features = torch.where(audio.mask[..., None], audio.features, 0)
        mask = runs_of(audio.mask, self.pool)
        if self.pooling == "concat":
            # Missing members are zero after the norm, too, whatever its bias.
            normed = torch.where(audio.mask[..., None], self.norm(features), 0)
            joined = runs_of(normed, self.pool).flatten(2)
        else:
            members = mask.sum(-1, keepdim=True).clamp(min=1).to(features.dtype)
            joined = self.norm(runs_of(features, self.pool).sum(2) / members)
        hidden = nn.functional.gelu(self.fc1(joined))
        lengths = None if audio.lengths is None else -(-audio.lengths // self.pool)
        return AudioTokens(self.fc2(hidden), mask.any(-1), lengths=lengths)
