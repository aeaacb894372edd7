"""AST: the Audio Spectrogram Transformer (arXiv 2104.01778), on transformers.ASTModel.

Design choice: the tokens are the patches only, in time-major order; the CLS and distillation
tokens, which summarize the whole clip, are dropped. transformers loads the weights: parameter names
differ between its releases, while the public files keep the old ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ASTConfig, ASTModel, PretrainedConfig

from pal_plugin.audio.kaldi import HOP_SAMPLES, RATE_HZ, windowed_filter_bank
from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.types import AudioTokens
from pal_plugin.utils.hub import fetch
from pal_plugin.utils.weights import read_weights

MEAN, STD = -4.2677393, 4.5689974
FRAMES_PER_S = RATE_HZ // HOP_SAMPLES
PATCH_FRAMES, STRIDE_FRAMES = 16, 10
_DEFAULTS = ASTConfig().to_dict()
#: Configurable fields; the number of frames follows from `window_s`.
CONFIG_NAMES = tuple(
    sorted(set(_DEFAULTS) - set(PretrainedConfig().to_dict()) - {"model_type", "max_length"})
)


class ASTFeatures(AudioFeatures):
    """Kaldi log-mel filter bank equal to `ASTFeatureExtractor`, 100 frames per second at 16 kHz.

    The filter bank of a clip is computed once and cut into windows; frames after its end are zeroed
    before normalization by AudioSet's mean and standard deviation, as in the reference.

    Args:
        window_s: window length in seconds, a multiple of 0.01.
        n_mels: number of mel bins.
        overlap_s: None: the frames after the last patch of a window (0.14 s of 10.24 s), so that
            the patches of consecutive windows are contiguous; with 0, no patch covers them.
        windowing: `max_s`, `precision` of AudioFeatures.
    """

    step_samples = HOP_SAMPLES

    def __init__(
        self,
        window_s: float = 10.24,
        n_mels: int = 128,
        overlap_s: float | None = None,
        **windowing,
    ) -> None:
        if overlap_s is None:
            frames = round(window_s * FRAMES_PER_S)
            patches = (frames - PATCH_FRAMES) // STRIDE_FRAMES + 1
            overlap_s = max(0, frames - patches * STRIDE_FRAMES) / FRAMES_PER_S
        super().__init__(RATE_HZ, window_s, overlap_s, **windowing)
        self.n_mels = n_mels

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips [S] -> (`[sum W, T, n_mels]`, valid frames per window), T = 100 * window_s."""
        bank, frames = windowed_filter_bank(
            clips,
            [len(self.window_lengths(len(clip))) for clip in clips],
            self.shift_samples // HOP_SAMPLES,
            self.window_samples // HOP_SAMPLES,
            self.n_mels,
        )
        return (bank - MEAN) / (2 * STD), frames


class AST(AudioEncoder):
    """AST encoder; the defaults are the published base model.

    Args:
        window_s: window length in seconds; sets the length of the position table, at 100 frames/s.
        config: fields of `transformers.ASTConfig` by name, such as `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, `intermediate_size`, `num_mel_bins`.
    """

    Features = ASTFeatures
    extra_arguments = CONFIG_NAMES
    defaults = _DEFAULTS

    def __init__(self, window_s: float = 10.24, **config) -> None:
        super().__init__()
        frames = round(window_s * FRAMES_PER_S)
        self.model = ASTModel(ASTConfig(**config, max_length=frames))
        self.window_s = frames / FRAMES_PER_S
        self.n_mels = self.model.config.num_mel_bins
        self.width = self.model.config.hidden_size
        frequency_cells, time_cells = self.model.embeddings.get_shape(self.model.config)
        self.grid = (time_cells, frequency_cells)

    def select_hidden_states(self, hidden_states: Sequence[int]) -> None:
        """See `AudioEncoder.select_hidden_states`; also removes the final norm."""
        super().select_hidden_states(hidden_states)
        self.model.layernorm = nn.Identity()

    @property
    def stack(self) -> nn.ModuleList:
        """The layers; in transformers 4 they are nested one level deeper."""
        return self.model.layers if hasattr(self.model, "layers") else self.model.encoder.layer

    @property
    def span_s(self) -> float:
        """Patches overlap, and the last one may end before the window does."""
        return self.grid[0] * self.model.config.time_stride / FRAMES_PER_S

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, T, n_mels]` -> AudioTokens `[W, t * f, D]`; grid (101, 12) for 10.24 s, 128 mels.

        Cell (i, j) covers frames 10 i to 10 i + 15 and mel bins 10 j to 10 j + 15. It is valid if
        it starts within the clip. As in the reference there is no padding mask in the attention, so
        padding is attended to; only the returned mask excludes it.
        """
        mel = self.as_input(features, 3, "[W, T, n_mels]")
        config = self.model.config
        if mel.shape[1:] != (config.max_length, config.num_mel_bins):
            raise ValueError(
                f"AST expects features [W, {config.max_length}, {config.num_mel_bins}], got "
                f"{tuple(features.shape)}; match n_mels and window_s of the features to the model"
            )
        hidden = self.chosen(lambda: self.model(mel).last_hidden_state)
        hidden = hidden[:, 2:]  # drop CLS and distillation token
        time_cells, frequency_cells = self.grid
        tokens = hidden.unflatten(1, (frequency_cells, time_cells)).transpose(1, 2).flatten(1, 2)
        return self.as_tokens(tokens, frames, config.time_stride, self.grid)

    @classmethod
    def sizes_of(cls, path: Path) -> dict[str, Any]:
        """Sizes in a folder's `config.json`; `window_s` follows from its number of frames."""
        if not Path(path).is_dir():
            return {}
        stored = ASTConfig.from_pretrained(path)
        sizes = {name: getattr(stored, name) for name in CONFIG_NAMES}
        return {"window_s": stored.max_length / FRAMES_PER_S, **sizes}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> AST:
        """Loads a file of the configured size, or a `save_pretrained` folder or Hub id, whose
        `config.json` gives the size. Key names as in ASTModel or ASTForAudioClassification (its
        classifier is dropped).

        Raises:
            HubError: if the files of a Hub id cannot be downloaded.
            ValueError: if keys are missing, unexpected or have the wrong shape; lists all of them.
        """
        path = fetch(path)
        model = cls.arguments_for(cls.sizes_of(path), model, path)
        encoder = cls(**model)
        encoder.arguments = model
        weights = {k: v for k, v in read_weights(path).items() if not k.startswith("classifier.")}
        encoder.model, report = ASTModel.from_pretrained(
            None,
            config=encoder.model.config,
            state_dict=weights,
            dtype=torch.float32,  # not the file's, as in the other encoders
            ignore_mismatched_sizes=True,  # so that all problems are reported at once
            output_loading_info=True,
        )
        problems = [
            f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in report[kind]))}"
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
            if report[kind]
        ]
        if problems:
            raise ValueError(
                f"{path} does not match AST; check the sizes in the encoder's 'model' settings, "
                f"window_s and the file. " + "; ".join(problems)
            )
        return encoder
