"""Whisper's encoder (arXiv 2212.04356), on transformers.WhisperEncoder; no decoder is built.

Design choice: windows are padded to the encoder's full length, as in the reference, and outputs
after the clip's end are masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from pal_plugin.audio.mel import hann, slaney_filters, windowed_power_mel
from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.encoders.ctranslate2 import is_ctranslate2, whisper_sizes, whisper_weights
from pal_plugin.types import AudioTokens
from pal_plugin.utils.hub import fetch
from pal_plugin.utils.spelling import reject_unknown
from pal_plugin.utils.weights import load_weights, read_weights

N_FFT, HOP_SAMPLES = 400, 160
#: Minimum mel power.
FLOOR = 1e-10
POSITIONS_PER_S = 50
#: Sizes of the base model, as fields of `transformers.WhisperConfig`.
BASE = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "num_mel_bins": 80,
}
_RATES = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop")
CONFIG_NAMES = (*BASE, *_RATES)
_POSITIONS = "encoder.embed_positions.weight"


class WhisperFeatures(AudioFeatures):
    """Log-mel equal to `WhisperFeatureExtractor`, 100 frames per second at 16 kHz.

    The dynamic range is limited to 8 decades below each window's maximum, as in the reference, so
    windows are independent of each other.

    Args:
        window_s: window length in seconds.
        n_mels: 80, or 128 for large-v3.
        windowing: `overlap_s`, `max_s`, `precision` of AudioFeatures.
    """

    mel_axis = -2

    def __init__(self, window_s: float = 30.0, n_mels: int = 80, **windowing) -> None:
        super().__init__(sample_rate_hz=16000, window_s=window_s, **windowing)
        self.n_mels = n_mels

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips [S] -> (`[sum W, n_mels, T]`, valid frames per window), T = 100 * window_s."""
        windows, device = self.cut(clips), clips[0].device
        filters = slaney_filters(
            N_FFT, self.n_mels, self.sample_rate_hz, 0.0, 8000.0, self.dtype, device
        )
        window = hann(N_FFT, True, self.dtype, device)
        powers = windowed_power_mel(windows, self.window_samples, HOP_SAMPLES, window, filters)
        length = self.window_samples // HOP_SAMPLES
        log_mel = powers[0].new_empty(len(windows), self.n_mels, length)
        for row, power in zip(log_mel, powers, strict=True):
            mel = power[:length].clamp_(min=FLOOR).log10_()
            least = (mel.amax() - 8.0).clamp_(min=math.log10(FLOOR))
            row[:, : len(mel)] = torch.maximum(mel, least).add_(4.0).div_(4.0).T
            row[:, len(mel) :] = (least + 4.0) / 4.0
        return log_mel, [-(-len(samples) // HOP_SAMPLES) for samples in windows]


class Whisper(AudioEncoder):
    """Whisper encoder; the defaults are the base model.

    Args:
        max_source_positions: outputs per window, at 50 Hz; 1500 for the published models.
        window_s: window length in seconds; determines `max_source_positions` unless that is given.
        short_windows: load a checkpoint with longer windows, using its first positions only.
            Whisper was trained on full windows, so its features change (docs/weights.md).
        config: fields of `transformers.WhisperConfig` by name: the sizes `d_model`,
            `encoder_layers`, `encoder_attention_heads`, `encoder_ffn_dim`, `num_mel_bins`, and the
            training rates `dropout`, `attention_dropout`, `activation_dropout`,
            `encoder_layerdrop`.

    Raises:
        ValueError: if a field is unknown, or `window_s` contradicts `max_source_positions`.
    """

    Features = WhisperFeatures
    extra_arguments = CONFIG_NAMES

    def __init__(
        self,
        max_source_positions: int | None = None,
        window_s: float | None = None,
        short_windows: bool = False,
        **config,
    ) -> None:
        super().__init__()
        reject_unknown(config, CONFIG_NAMES, "Whisper")
        if max_source_positions is None:
            max_source_positions = round((window_s or 30.0) * POSITIONS_PER_S)
        self.window_s = max_source_positions / POSITIONS_PER_S
        if window_s is not None and abs(window_s - self.window_s) > 1e-6:
            raise ValueError(
                f"max_source_positions {max_source_positions} is {self.window_s} s, but window_s "
                f"is {window_s}; set only one, or {round(window_s * POSITIONS_PER_S)} positions"
            )
        config = {**BASE, **config, "max_source_positions": max_source_positions}
        self.encoder = WhisperEncoder(WhisperConfig(**config, attn_implementation="sdpa"))
        self.width, self.n_mels = config["d_model"], config["num_mel_bins"]
        self.grid = None

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, n_mels, 2 * P]` -> AudioTokens `[W, P, D]` at 50 Hz, P = max_source_positions.

        The first ceil(frames / 2) tokens belong to the clip.
        """
        mel = self.as_input(features, 3, "[W, n_mels, T]")
        positions = self.encoder.config.max_source_positions
        expected = (self.encoder.config.num_mel_bins, 2 * positions)
        if mel.shape[1:] != expected:
            raise ValueError(
                f"Whisper expects features [W, {expected[0]}, {expected[1]}], got "
                f"{tuple(features.shape)}; match n_mels and window_s of the features to the model"
            )
        hidden = self.chosen(lambda: self.encoder(mel).last_hidden_state)
        return self.as_tokens(hidden, frames, 2)

    def select_hidden_states(self, hidden_states: Sequence[int]) -> None:
        """See `AudioEncoder.select_hidden_states`; removes the final norm; needs LayerDrop off."""
        if self.encoder.config.encoder_layerdrop:
            raise ValueError("hidden_states need every layer; set model: {encoder_layerdrop: 0}")
        super().select_hidden_states(hidden_states)
        self.encoder.layer_norm = nn.Identity()

    @property
    def stack(self) -> nn.ModuleList:
        """The encoder's layers."""
        return self.encoder.layers

    @classmethod
    def sizes_of(cls, path: Path) -> dict[str, Any]:
        """Sizes in a folder's `config.json`, or in its CTranslate2 file."""
        if not Path(path).is_dir():
            return {}
        if is_ctranslate2(path):
            return whisper_sizes(path)
        stored = WhisperConfig.from_pretrained(path)
        return {name: getattr(stored, name) for name in (*BASE, "max_source_positions")}

    @classmethod
    def arguments_for(
        cls, stored: Mapping[str, Any], given: Mapping[str, Any], source: str | Path
    ) -> dict[str, Any]:
        """See `AudioEncoder.arguments_for`; with `short_windows`, the configured window length wins
        over the checkpoint's."""
        positions, wanted = stored.get("max_source_positions"), given.get("max_source_positions")
        if wanted is None and given.get("window_s"):
            wanted = round(given["window_s"] * POSITIONS_PER_S)
        if positions is None or wanted in (None, positions):
            return super().arguments_for(stored, given, source)
        whole = {**given, "max_source_positions": positions}
        sizes = super().arguments_for(stored, whole, source)
        whole_s, window_s = positions / POSITIONS_PER_S, wanted / POSITIONS_PER_S
        if wanted > positions:
            raise ValueError(
                f"{source} has windows of {whole_s:g} s, got window_s {window_s:g}; set "
                f"features: {{window_s: {whole_s:g}}}: longer clips are split into windows"
            )
        if not given.get("short_windows"):
            raise ValueError(
                f"{source} has windows of {whole_s:g} s, got window_s {window_s:g}; set "
                f"features: {{window_s: {whole_s:g}}} (and remove max_source_positions), or "
                f"model: {{short_windows: true}}, which uses the first {wanted} of its "
                f"{positions} positions and slightly changes its features (docs/weights.md)"
            )
        return {**sizes, "max_source_positions": wanted}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> Whisper:
        """Loads a file of the configured size, or a folder that gives the size: of
        `save_pretrained` or CTranslate2 (faster-whisper). Key names as in WhisperEncoder,
        WhisperModel or WhisperForConditionalGeneration (the decoder is dropped). `path` may be a
        Hugging Face Hub id.

        Raises:
            ValueError: if sizes contradict the folder's, or keys are missing, unexpected or have
                the wrong shape; lists all of them.
            HubError: if the files of a Hub id cannot be downloaded.
        """
        path = fetch(path)
        model = cls.arguments_for(cls.sizes_of(path), model, path)
        weights = _encoder_weights(path)
        encoder = cls(**model)
        encoder.arguments = model
        positions = encoder.encoder.config.max_source_positions
        if model.get("short_windows") and _POSITIONS in weights:
            weights[_POSITIONS] = weights[_POSITIONS][:positions]
        load_weights(encoder, weights, path)
        return encoder


def _encoder_weights(path: Path) -> dict[str, Tensor]:
    """The encoder's weights in a file or folder, by this class's key names."""
    if is_ctranslate2(path):
        return whisper_weights(path)
    weights = {}
    for key, value in read_weights(path).items():
        key = key.removeprefix("model.")
        if key.startswith(("decoder.", "proj_out.")):
            continue
        weights[key if key.startswith("encoder.") else f"encoder.{key}"] = value
    return weights
