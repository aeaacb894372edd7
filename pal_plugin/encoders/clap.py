"""CLAP: LAION's HTSAT audio tower (arXiv 2211.06687), on transformers.ClapAudioModel.

Design choice: the tokens are the feature map before pooling, reordered to a time-major grid with
rows of increasing frequency. Only unfused models are supported: the fused front end picks a random
clip of a batch as "longer", so its features are not deterministic.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel, PretrainedConfig

from pal_plugin.audio.mel import hann, slaney_filters, windowed_power_mel
from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.types import AudioTokens
from pal_plugin.utils.hub import fetch
from pal_plugin.utils.weights import load_weights, read_weights

#: Minimum mel power.
FLOOR = 1e-10
_DEFAULTS = ClapAudioConfig().to_dict()
CONFIG_NAMES = tuple(sorted(set(_DEFAULTS) - set(PretrainedConfig().to_dict()) - {"model_type"}))
_NO_FUSION = (
    "fused CLAP, whose features are random: it treats a random clip as longer; "
    "use an unfused one, such as laion/clap-htsat-unfused"
)


class CLAPFeatures(AudioFeatures):
    """Log-mel in dB, equal to `ClapFeatureExtractor` (unfused, `padding="pad"`).

    Each window is one clip to the reference: zero-padded, centred frames. The FFT uses float64 in
    the fast mode too: float32 rounding errors, 160 dB below a frame's peak, would be up to 0.6 dB
        in
    equally quiet cells (as in a loud sweep).

    Args:
        window_s: window length in seconds.
        n_fft: FFT length in samples.
        hop_length: hop length in samples.
        n_mels: number of mel bins between `low_hz` and `high_hz` (Slaney scale and norm).
        low_hz, high_hz: frequency range in Hz.
        sample_rate_hz: sampling rate in Hz.
        windowing: `overlap_s`, `max_s`, `precision` of AudioFeatures.
    """

    def __init__(
        self,
        window_s: float = 10.0,
        n_fft: int = 1024,
        hop_length: int = 480,
        n_mels: int = 64,
        low_hz: float = 50.0,
        high_hz: float = 14000.0,
        sample_rate_hz: int = 48000,
        **windowing,
    ) -> None:
        super().__init__(sample_rate_hz, window_s, **windowing)
        self.frame_s = hop_length / sample_rate_hz
        self.n_fft, self.hop_length, self.n_mels = n_fft, hop_length, n_mels
        self.low_hz, self.high_hz = low_hz, high_hz

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips [S] -> (`[sum W, 1, T, n_mels]`, valid frames), T = 1 + window samples // hop."""
        windows, device = self.cut(clips), clips[0].device
        filters = slaney_filters(
            self.n_fft,
            self.n_mels,
            self.sample_rate_hz,
            self.low_hz,
            self.high_hz,
            self.dtype,
            device,
        )
        window = hann(self.n_fft, True, torch.float64, device)
        powers = windowed_power_mel(windows, self.window_samples, self.hop_length, window, filters)
        length = 1 + self.window_samples // self.hop_length
        mel_db = powers[0].new_full((len(windows), 1, length, self.n_mels), 10 * math.log10(FLOOR))
        for row, power in zip(mel_db, powers, strict=True):
            row[0, : len(power)] = power.clamp_(min=FLOOR).log10_().mul_(10.0)
        return mel_db, [-(-len(samples) // self.hop_length) for samples in windows]


class CLAP(AudioEncoder):
    """CLAP audio encoder; the defaults are LAION's unfused HTSAT.

    Args:
        window_s: window length in seconds (the feature map always spans one window, so its columns
            are `window_s / grid[0]` seconds long).
        config: fields of `transformers.ClapAudioConfig` by name, such as `spec_size`,
            `num_mel_bins`, `depths`, `num_attention_heads`, `patch_embeds_hidden_size`.

    Raises:
        ValueError: if fusion is enabled, or the sizes do not give an integer grid.
    """

    Features = CLAPFeatures
    extra_arguments = CONFIG_NAMES
    defaults = _DEFAULTS

    def __init__(self, window_s: float = 10.0, **config) -> None:
        super().__init__()
        if config.get("enable_fusion"):
            raise ValueError(_NO_FUSION)
        config = ClapAudioConfig(**config)
        # The actual output width; transformers scales the initialization by this field.
        self.width = config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1)
        config.hidden_size = self.width
        self.n_mels = config.num_mel_bins
        self.window_s = window_s
        self.grid = grid_of(config)
        self.max_frames = config.spec_size * (config.spec_size // config.num_mel_bins)
        self.audio_model = ClapAudioModel(config)

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, 1, T, n_mels]` in dB, T <= spec_size**2 / n_mels -> AudioTokens `[W, t * f, D]`.

        The model stretches the T frames of a window over its whole grid, so the first
        ceil(frames / T * t) columns belong to the clip.
        """
        mel = self.as_input(features, 4, "[W, 1, T, n_mels]")
        n_mels = self.audio_model.config.num_mel_bins
        if mel.shape[1] != 1 or mel.shape[3] != n_mels or mel.shape[2] > self.max_frames:
            raise ValueError(
                f"CLAP expects features [W, 1, T <= {self.max_frames}, {n_mels}], "
                f"got {tuple(features.shape)}; match n_mels, hop_length and window_s to the model"
            )
        latent = self.audio_model(mel).last_hidden_state  # [W, D, f, t]
        tokens = latent.permute(0, 3, 2, 1).flatten(1, 2)  # [W, t * f, D]
        return self.as_tokens(tokens, frames, mel.shape[2] / self.grid[0], self.grid)

    def check(self, features: CLAPFeatures) -> None:
        """See `AudioEncoder.check`; a window must also fit the model's input size."""
        super().check(features)
        frames = 1 + features.window_samples // features.hop_length
        if frames > self.max_frames:
            raise ValueError(
                f"a window of {features.window_s} s has {frames} frames, the model accepts at most "
                f"{self.max_frames}; use shorter windows or a larger hop_length or spec_size"
            )

    def train(self, mode: bool = True) -> CLAP:
        """BatchNorm layers with frozen parameters stay in eval mode, which keeps their running
        statistics fixed."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    @classmethod
    def sizes_of(cls, path: Path) -> dict[str, Any]:
        """Sizes in a folder's `config.json`."""
        if not Path(path).is_dir():
            return {}
        stored = ClapAudioConfig.from_pretrained(path).to_dict()
        return {name: stored[name] for name in CONFIG_NAMES if name in stored}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> CLAP:
        """Loads a file of the configured size, or a `save_pretrained` folder or Hub id, whose
        `config.json` gives the size. Key names as in ClapAudioModel or ClapModel (its text tower is
        dropped).

        Raises:
            ValueError: if the checkpoint is a fused one, or keys are missing, unexpected or have
                the wrong shape; lists all of them.
            HubError: if the files of a Hub id cannot be downloaded.
        """
        given, path = path, fetch(path)
        model = cls.arguments_for(cls.sizes_of(path), model, path)
        if model.get("enable_fusion"):
            raise ValueError(f"{given} is a {_NO_FUSION}")
        weights = {}
        for key, value in read_weights(path).items():
            if ".fusion_model." in key or ".mel_conv2d." in key:
                raise ValueError(f"{given} is a {_NO_FUSION} (it has {key})")
            if key.startswith("audio_encoder."):
                key = f"audio_model.{key}"
            if not key.startswith(("text_", "audio_projection.", "logit_scale_")):
                weights[key] = value
        encoder = cls(**model)
        encoder.arguments = model
        load_weights(encoder, weights, path, computed=("relative_position_index",))
        return encoder


def grid_of(config: ClapAudioConfig) -> tuple[int, int]:
    """(time, frequency) cells of the map before pooling. Raises ValueError if not integers."""
    if config.spec_size % config.num_mel_bins:
        raise ValueError(
            f"CLAP needs spec_size as a multiple of num_mel_bins, got {config.spec_size} "
            f"and {config.num_mel_bins}"
        )
    stride = config.patch_stride
    stride = stride if isinstance(stride, int) else stride[0]
    folds = config.spec_size // config.num_mel_bins
    shrinks = stride * 2 ** (len(config.depths) - 1)
    side, rest = divmod(config.spec_size, shrinks)
    if rest or side % folds:
        raise ValueError(
            f"CLAP's grid is not an integer: spec_size {config.spec_size} is downsampled by "
            f"{shrinks} (stride {stride}, {len(config.depths)} stages) and must leave a multiple "
            f"of spec_size / num_mel_bins = {folds} cells per side"
        )
    if side < config.window_size:
        raise ValueError(
            f"CLAP's last stage has {side} cells per side, less than window_size "
            f"{config.window_size}; use fewer stages, a larger spec_size or a smaller window_size"
        )
    return side * folds, side // folds
