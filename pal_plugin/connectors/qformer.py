"""Q-Former: learned queries read the audio by cross-attention and compress it to few tokens.

The architecture is BLIP-2's (arXiv 2301.12597, section 3.1), implemented by transformers. GAMA
(arXiv 2406.11768) uses 32 queries for the whole audio; SALMONN (arXiv 2310.13289, section 3.1)
applies one query to each third of a second in turn, which preserves the order of speech.

Design choice: a run of tokens is a batch item. So both modes share their code, and all runs of all
clips are processed in one pass.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from pal_plugin.connectors.qformer_weights import load_qformer
from pal_plugin.types import AudioTokens


class QFormer(nn.Module):
    """Queries over whole encoder windows, or over runs of `window` tokens.

    Encoder tokens are normalized; those of several encoders are projected to a common width and
    concatenated. The first and then every `cross_attention_frequency`-th layer has cross-attention.

    With a single query, self-attention has nothing to weight, so its query and key projections have
    zero gradients. So have all key biases, in any attention (softmax is invariant to them). These
    weights are part of the architecture and are kept.

    Args:
        widths: `{encoder: width}`; a single encoder if `window` is given.
        grids: `{encoder: grid}`; unused, part of the connectors' common constructor.
        out_width: embedding width of the LLM.
        queries: output tokens per window or run; None: 32, or 1 per run.
        window: tokens per run; None: the whole encoder window is one run. Whisper outputs 50 tokens
            per second, so SALMONN's third of a second is 17.
        hidden: hidden width; the FFN is four times as wide.
        layers: number of layers; SALMONN has 2.
        heads: number of attention heads. Checkpoints do not store it.
        cross_attention_frequency: one in this many layers has cross-attention; SALMONN uses 1.
        encoder_width: width that encoder tokens are projected to. None: their own for a single
            encoder, else `hidden`.
        dropout: dropout rate of attention weights and layer outputs in training.
        checkpoint: initial Q-Former weights: `.safetensors`, or `.pt`, `.pth`, `.bin` with tensors
            only, with key names of LAVIS, SALMONN or transformers. Loaded whenever the connector is
            built. Its query tokens are used if there are `queries` of them; its text branch and
            other model components are skipped.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if there are several encoders with `window`, a size is below 1, `hidden` is not
            divisible by `heads`, or the checkpoint does not match (names every key).
    """

    #: Overlapping windows cannot be merged: queries read whole windows, and run boundaries do not
    #: align with the overlap.
    in_time_order = False

    def __init__(
        self,
        widths: dict[str, int],
        grids: dict[str, tuple[int, int] | None],
        out_width: int,
        queries: int | None = None,
        window: int | None = None,
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
        cross_attention_frequency: int = 2,
        encoder_width: int | None = None,
        dropout: float = 0.1,
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        if window is not None and len(widths) != 1:
            raise ValueError(
                "qformer: window needs a single encoder, got "
                f"{sorted(widths)}; remove window, or use one group per encoder"
            )
        if queries is None:
            queries = 32 if window is None else 1
        sizes = {
            "queries": queries,
            "window": 1 if window is None else window,
            "layers": layers,
            "cross_attention_frequency": cross_attention_frequency,
        }
        wrong = [f"{name}={size}" for name, size in sizes.items() if size < 1]
        if wrong:
            raise ValueError(f"qformer: expected sizes of at least 1, got {', '.join(wrong)}")
        if encoder_width is None:
            encoder_width = hidden if len(widths) > 1 else next(iter(widths.values()))
        self.window = window
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.project = nn.ModuleDict(
            {
                name: nn.Linear(width, encoder_width)
                for name, width in widths.items()
                if len(widths) > 1 or width != encoder_width
            }
        )
        self.query = nn.Parameter(torch.randn(queries, hidden) * 0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=4 * hidden,
                encoder_hidden_size=encoder_width,
                cross_attention_frequency=cross_attention_frequency,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )
        self.head = nn.Linear(hidden, out_width)
        if checkpoint is not None:
            trained = load_qformer(self.qformer, checkpoint)
            if trained is not None and trained.shape == self.query.shape:
                self.query.data.copy_(trained)

    def forward(self, tokens: dict[str, AudioTokens]) -> AudioTokens:
        """`{encoder: [W, N, D]}` -> `[W, queries, out_width]`; with `window`, in temporal order,
        `[W, runs * queries, out_width]` with runs = round(N / window), at least 1.

        A remainder forms its own run, or joins the last one if shorter than half a run: Whisper's
        1500 tokens give 88 runs of 17, the last of 21. A run's output tokens are valid if any of
        its input tokens is.
        """
        tokens = {name: audio.trimmed(self.window or 1) for name, audio in tokens.items()}
        cells = torch.cat([self._read(name, tokens[name]) for name in self.norm], dim=1)
        mask = torch.cat([tokens[name].mask for name in self.norm], dim=1)
        clips, lengths = len(mask), None
        if self.window is not None:
            (audio,) = tokens.values()
            lengths = audio.lengths
            cells, mask = _runs(cells, mask, self.window)
        heard = mask.any(-1)
        # Runs after the clip's end attend to zeros (masked later); softmax over nothing gives NaN.
        out = self.qformer(
            query_embeds=self.query.expand(len(cells), -1, -1),
            encoder_hidden_states=cells,
            encoder_attention_mask=mask | ~heard[:, None],
        ).last_hidden_state
        valid = heard[:, None].expand(-1, len(self.query))
        features = self.head(out).reshape(clips, -1, self.head.out_features)
        if lengths is not None:
            runs = -(-lengths // self.window)
            lengths = runs.clamp(max=len(cells) // clips) * len(self.query)
        return AudioTokens(features, valid.reshape(clips, -1), lengths=lengths)

    def _read(self, name: str, audio: AudioTokens) -> Tensor:
        """Normalized and projected tokens of one encoder, `[W, N, encoder width]`."""
        normed = self.norm[name](torch.where(audio.mask[..., None], audio.features, 0))
        return self.project[name](normed) if name in self.project else normed


def _runs(cells: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """`[W, N, D]` and `[W, N]` -> `[W * runs, L, D]` and `[W * runs, L]`, L >= window.

    L is larger if the last run includes the remainder; other runs are masked beyond `window`.
    """
    count = mask.shape[1]
    runs = max(1, (2 * count + window) // (2 * window))
    length = max(window, count - (runs - 1) * window)
    missing = (runs - 1) * window + length - count
    cells = F.pad(cells, (0, 0, 0, missing)).unfold(1, length, window).transpose(2, 3)
    mask = F.pad(mask, (0, missing)).unfold(1, length, window)
    place = torch.arange(length, device=mask.device)
    last = torch.arange(runs, device=mask.device)[:, None] == runs - 1
    return cells.flatten(0, 1), (mask & ((place < window) | last)).flatten(0, 1)
