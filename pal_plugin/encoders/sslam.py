"""SSLAM: an EAT-style audio ViT on log-mel patches (arXiv 2506.12222), built from timm modules.

Design choice: timm's PatchEmbed and Block with a post-norm `forward`, rather than timm's
VisionTransformer, whose `pre_norm=True` drops the bias of the patch convolution. The state dict
has timm's key names; the fixed position table is computed, not saved.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from timm.layers import PatchEmbed, trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import pad

from pal_plugin.audio.kaldi import HOP_SAMPLES, RATE_HZ, windowed_filter_bank
from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.types import AudioTokens
from pal_plugin.utils.hub import fetch
from pal_plugin.utils.weights import load_weights, read_weights

PATCH = 16
MEL_BINS = 128
MEAN, STD = -4.268, 4.569


def padded_frames(window_s: float) -> int:
    """Frames per window: 100 per second, rounded up to a multiple of 32 (two patches), so that 10 s
    give the reference's 1024 and 5 s give 512."""
    return -(-round(window_s * 100) // (2 * PATCH)) * (2 * PATCH)


class SSLAMFeatures(AudioFeatures):
    """Kaldi log-mel filter bank at 16 kHz, normalized as in the reference.

    The clip's mean is subtracted and its filter bank computed once, then cut into windows of
    `100 * window_s` frames, which overlap by `100 * overlap_s`. Each is zero-padded to
    `padded_frames(window_s)` frames and then normalized as `(x + 4.268) / (2 * 4.569)`, so padding
    is +0.4671, as in the reference. Kaldi only produces frames where 25 ms fit, so a clip of
    exactly one window has two frames fewer than the window. A last window shorter than 25 ms (e.g.
    a clip of 0.02 s) is zero-padded to one frame.

    Args:
        window_s: window length in seconds, a multiple of 0.01.
        windowing: `overlap_s` (a multiple of 0.01), `max_s`, `precision` of AudioFeatures.
    """

    step_samples = HOP_SAMPLES

    def __init__(self, window_s: float = 10.24, **windowing) -> None:
        super().__init__(RATE_HZ, window_s, **windowing)

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips [S] -> (`[sum W, 1, T, 128]`, valid frames), T = padded_frames(window_s)."""
        mel, frames = windowed_filter_bank(
            [clip - clip.mean() for clip in clips],
            [len(self.window_lengths(len(clip))) for clip in clips],
            self.shift_samples // HOP_SAMPLES,
            self.window_samples // HOP_SAMPLES,
            MEL_BINS,
        )
        missing = padded_frames(self.window_s) - mel.shape[1]
        return (pad(mel, (0, 0, 0, missing))[:, None] - MEAN) / (2 * STD), frames


def sincos_table(width: int, time_cells: int, freq_cells: int) -> Tensor:
    """Fixed 2-D sine-cosine positions `[1, time_cells * freq_cells, width]`, time-major.

    The first half of the channels encodes frequency, the second half time; each half is the sine,
    then the cosine of position * 10000^(-i / (width / 4)).
    """
    if width % 4:
        raise ValueError(f"SSLAM's position table needs a width divisible by 4, got {width}")
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))

    def encode(cells: int) -> Tensor:
        angle = torch.arange(cells, dtype=torch.float64)[:, None] * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    freq = encode(freq_cells)[None].expand(time_cells, -1, -1)
    time = encode(time_cells)[:, None].expand(-1, freq_cells, -1)
    return torch.cat([freq, time], dim=-1).reshape(1, -1, width).to(torch.float32)


class PostNormBlock(Block):
    """timm's Block with LayerNorm after the residual additions."""

    def forward(self, x: Tensor) -> Tensor:
        """Map cells [B, N, D] to [B, N, D]."""
        x = self.norm1(x + self.drop_path1(self.attn(x)))
        return self.norm2(x + self.drop_path2(self.mlp(x)))


class SSLAM(AudioEncoder):
    """SSLAM encoder; the defaults are the published base model.

    Args:
        embed_dim: width, divisible by 4 and by `num_heads`.
        depth: number of blocks.
        num_heads: number of attention heads.
        mlp_ratio: MLP width relative to `embed_dim`.
        max_time_cells: length of the position table in patches of 0.16 s; longer inputs raise.
            Overridden by a checkpoint's own table.
        window_s: window length in seconds; determines `grid`.
        drop_path_rate: stochastic depth rate of the last block (linear from 0 in the first).
    """

    Features = SSLAMFeatures

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        max_time_cells: int = 768,
        window_s: float = 10.24,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = embed_dim
        self.window_s = window_s
        self.freq_cells = MEL_BINS // PATCH
        self.grid = (padded_frames(window_s) // PATCH, self.freq_cells)
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=PATCH, in_chans=1, embed_dim=embed_dim, bias=True
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.norm_pre = norm(embed_dim)
        self.blocks = nn.ModuleList(
            PostNormBlock(
                dim=embed_dim,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=True,
                norm_layer=norm,
                drop_path=drop_path_rate * i / max(depth - 1, 1),
            )
            for i in range(depth)
        )
        self.register_buffer(
            "pos_embed", sincos_table(embed_dim, max_time_cells, self.freq_cells), persistent=False
        )
        self.apply(_init)
        trunc_normal_(self.cls_token, std=0.02)

    @property
    def span_s(self) -> float:
        """Seconds that a padded window spans, which is more than `window_s`."""
        return padded_frames(self.window_s) / 100

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, 1, T, 128]`, T a multiple of 16 -> AudioTokens `[W, T/16 * 8, D]`, grid (T/16, 8).

        As in the reference there is no padding mask in the attention, so padding is attended to;
        only the returned mask excludes it.
        """
        mel = self.as_input(features, 4, f"[W, 1, T, {MEL_BINS}]")
        if mel.shape[1] != 1 or mel.shape[3] != MEL_BINS or mel.shape[2] % PATCH:
            raise ValueError(
                f"SSLAM expects features [W, 1, T, {MEL_BINS}] with T a multiple of {PATCH}, "
                f"got {tuple(features.shape)}"
            )
        time_cells = mel.shape[2] // PATCH
        cells = time_cells * self.freq_cells
        if cells > self.pos_embed.shape[1]:
            raise ValueError(
                f"SSLAM's position table covers {self.pos_embed.shape[1] // self.freq_cells} time "
                f"cells, the input has {time_cells}; use shorter windows or raise max_time_cells"
            )
        x = self.patch_embed(mel) + self.pos_embed[:, :cells].to(mel.dtype)
        # CLS is prepended after adding positions; it has none.
        x = self.norm_pre(torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1))
        hidden = self.chosen(lambda: self._through_blocks(x))
        return self.as_tokens(hidden[:, 1:], frames, PATCH, (time_cells, self.freq_cells))

    @property
    def stack(self) -> nn.ModuleList:
        """The blocks."""
        return self.blocks

    def _through_blocks(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> SSLAM:
        """Loads a timm, fairseq or Hugging Face checkpoint of the configured size, pretrained or
        fine-tuned; EAT checkpoints have the same architecture and layouts.

        Args:
            path: a file, a folder with `model.safetensors`, or a Hugging Face Hub id.
            model: constructor arguments; the base model by default. The checkpoint determines the
                length of the position table.

        Raises:
            ValueError: if keys are missing, unexpected or have the wrong shape; lists all of them.
            HubError: if the files of a Hub id cannot be downloaded.
        """
        path = fetch(path)
        weights = to_timm_layout(read_weights(path))
        positions = weights.pop("pos_embed", None)
        encoder = cls(**model)
        if positions is not None:
            if positions.dim() != 3 or positions.shape[-1] != encoder.width:
                raise ValueError(
                    f"{path}: expected pos_embed [1, cells, {encoder.width}], "
                    f"got {tuple(positions.shape)}"
                )
            encoder.pos_embed = positions.to(torch.float32)
        load_weights(encoder, weights, path)
        return encoder


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


_FAIRSEQ = {
    "modality_encoders.IMAGE.extra_tokens": "cls_token",
    "modality_encoders.IMAGE.local_encoder.proj.": "patch_embed.proj.",
    "modality_encoders.IMAGE.fixed_positional_encoder.positions": "pos_embed",
    "modality_encoders.IMAGE.context_encoder.norm.": "norm_pre.",
}
_HUGGING_FACE = {
    "extra_tokens": "cls_token",
    "local_encoder.proj.": "patch_embed.proj.",
    "fixed_positional_encoder.positions": "pos_embed",
    "pre_norm.": "norm_pre.",
}
# The pretraining decoder and EMA teacher, and the head of the fine-tuned checkpoint.
_NOT_ENCODER = ("modality_encoders.IMAGE.decoder.", "_ema", "fc_norm.", "head.")


def to_timm_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the keys of weights [...] in the three public layouts to timm's; drops what is not
    part of the encoder and keeps unknown keys, so that loading reports them."""
    hugging_face = any(k.removeprefix("model.").startswith("local_encoder.") for k in weights)
    renames = _HUGGING_FACE if hugging_face else _FAIRSEQ
    result = {}
    for full_key, value in weights.items():
        # The Hugging Face and the fine-tuned fairseq checkpoint prefix keys with "model.".
        key = full_key.removeprefix("model.")
        if key.startswith(_NOT_ENCODER):
            continue
        for old, new in renames.items():
            if key.startswith(old):
                key = new + key[len(old) :]
                break
        result[key] = value
    return result
