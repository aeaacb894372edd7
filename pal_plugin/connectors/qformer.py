"""Q-Former: learned queries read the audio by cross attention, many tokens become few.

The architecture is BLIP-2's (arXiv 2301.12597, section 3.1), the module that of transformers. GAMA
(arXiv 2406.11768) uses one set of 32 queries for all of the audio; SALMONN (arXiv 2310.13289,
section 3.1) lets one query read each third of a second in turn, so that speech keeps its order.

The design choice: a run of tokens is an item of the batch. Both modes are then the same code, and
all runs of all clips are read in one pass.
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

    Each encoder's tokens are normalised; those of several encoders are projected to one width and
    read together. The first layer and every `cross_attention_frequency`-th from there read audio.

    With one query there is nothing to weigh in its self-attention: query and key projections of
    that get a gradient of zero. So do, in all attentions, the biases of keys (softmax ignores what
    is added to all scores of a query). The architecture has these weights, and so they stay.

    Args:
        widths: `{encoder: width}`; one encoder where `window` is given.
        grids: `{encoder: grid}`; not used, part of the connectors' common constructor.
        out_width: width of the LLM.
        queries: tokens that come out of a window or run; None means 32, or 1 per run.
        window: tokens of a run; None: one run, the whole encoder window. Whisper makes 50 tokens a
            second, so SALMONN's third of a second is 17.
        hidden: inner width; the FFN is four times as wide.
        layers: number of layers; SALMONN has 2.
        heads: attention heads. A checkpoint does not tell how many it was trained with.
        cross_attention_frequency: a layer of so many reads audio; SALMONN has 1.
        encoder_width: width to which encoder tokens are projected before they are read. None: their
            own where there is one encoder, else `hidden`.
        dropout: in training, on attention weights and outputs of the Q-Former's layers.
        checkpoint: Q-Former to start from: `.safetensors`, or `.pt`, `.pth`, `.bin` with nothing
            but tensors, with the keys of LAVIS, SALMONN or transformers. It is read whenever the
            connector is built. Its query tokens are taken where their number is `queries`. Its text
            half and the other parts of the model in the file are left out.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: several encoders with `window`, a size below 1, a `hidden` that the heads do not
            divide, or a checkpoint that does not fit (it names every key).
    """

    #: Overlapping windows cannot be trimmed: a query reads all of its window, and where runs of
    #: tokens end has nothing to do with the overlap.
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
                "qformer: runs of tokens are those of one encoder, but with a window it was given "
                f"{sorted(widths)}; leave window out, or make one group per encoder"
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
            raise ValueError(f"qformer: expected sizes from 1 on, got {', '.join(wrong)}")
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
        """`{encoder: [W, N, D]}` -> `[W, queries, out_width]`, or with a window, in order of time,
        `[W, runs * queries, out_width]` with runs = N / window, rounded, at least 1.

        What `window` does not divide goes on as a run of its own, or with the last run where it is
        less than half of one: Whisper's 1500 tokens make 88 runs of 17, the last of 21. The tokens
        of a run are valid if any of its tokens is.
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
        # A run after the clip's end reads zeros and is masked later; with nothing to read softmax
        # would give NaN.
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
        """Normalised tokens of one encoder, `[W, N, encoder width]`."""
        normed = self.norm[name](torch.where(audio.mask[..., None], audio.features, 0))
        return self.project[name](normed) if name in self.project else normed


def _runs(cells: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """`[W, N, D]` and `[W, N]` -> `[W * runs, L, D]` and `[W * runs, L]`, L >= window.

    L is larger where the last run takes the rest along; the others see nothing beyond `window`.
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
