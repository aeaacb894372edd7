"""AST: the Audio Spectrogram Transformer (arXiv 2104.01778), on transformers.ASTModel.

Design choice: the tokens are the patches alone, put in time-major order; the CLS and distillation
tokens, which stand for the whole clip, are dropped. Weights are read by transformers itself, whose
releases differ in the names of a layer's parts while the public files keep the old ones.
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
#: Of the configuration; the number of frames follows from `window_s`.
CONFIG_NAMES = tuple(
    sorted(set(_DEFAULTS) - set(PretrainedConfig().to_dict()) - {"model_type", "max_length"})
)


class ASTFeatures(AudioFeatures):
    """Kaldi filter bank equal to `ASTFeatureExtractor`, 100 frames per second at 16 kHz.

    A clip's bank is computed once and cut into windows; frames after its end are zero before the
    bank is normalised by AudioSet's mean and deviation, as in the reference.

    Args:
        window_s: seconds per window, a multiple of 0.01.
        n_mels: mel bins.
        overlap_s: None for the few frames that are left over behind a window's last patch (0.14 s
            of 10.24 s), so that the patches of the next window continue in step; with 0 these
            frames would be heard by no patch.
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
        """Clips -> (`[sum W, T, n_mels]`, valid frames), T = 100 * window_s."""
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
        window_s: seconds per window; the position table is as long, 100 frames a second.
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

    def give(self, hidden_states: Sequence[int]) -> None:
        """As `AudioEncoder.give`; the norm at the end goes too."""
        super().give(hidden_states)
        self.model.layernorm = nn.Identity()

    @property
    def stack(self) -> nn.ModuleList:
        """The layers, which transformers 4 keeps one module deeper."""
        return self.model.layers if hasattr(self.model, "layers") else self.model.encoder.layer

    @property
    def span_s(self) -> float:
        """Patches overlap, and the last one need not reach the window's end."""
        return self.grid[0] * self.model.config.time_stride / FRAMES_PER_S

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, T, n_mels]` -> AudioTokens `[W, t * f, D]`; grid (101, 12) for 10.24 s, 128 bins.

        Cell (i, j) sees 16 frames from 10 i on and 16 mel bins from 10 j on. It is valid if it
        starts within the clip. The reference has no padding mask, so padding takes part in the
        attention here too; only the returned mask excludes it.
        """
        mel = self.as_input(features, 3, "[W, T, n_mels]")
        config = self.model.config
        if mel.shape[1:] != (config.max_length, config.num_mel_bins):
            raise ValueError(
                f"AST expects features [W, {config.max_length}, {config.num_mel_bins}], got "
                f"{tuple(features.shape)}; match n_mels and window_s of the features to the model"
            )
        hidden = self.chosen(lambda: self.model(mel).last_hidden_state)
        hidden = hidden[:, 2:]  # behind CLS and distillation token
        time_cells, frequency_cells = self.grid
        tokens = hidden.unflatten(1, (frequency_cells, time_cells)).transpose(1, 2).flatten(1, 2)
        return self.as_tokens(tokens, frames, config.time_stride, self.grid)

    @classmethod
    def sizes_of(cls, path: Path) -> dict[str, Any]:
        """Of a folder: its `config.json`, whose number of frames is the window."""
        if not Path(path).is_dir():
            return {}
        stored = ASTConfig.from_pretrained(path)
        sizes = {name: getattr(stored, name) for name in CONFIG_NAMES}
        return {"window_s": stored.max_length / FRAMES_PER_S, **sizes}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> AST:
        """Read a file of the given size, or a `save_pretrained` folder or hub id, whose
        `config.json` gives the size. Keys as in ASTModel or
        ASTForAudioClassification, whose classifier is dropped.

        Raises:
            HubError: an id whose files cannot be had.
            ValueError: names every key that is missing, unexpected or of another shape.
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
            dtype=torch.float32,  # and not the file's, as the other encoders
            ignore_mismatched_sizes=True,  # so that all problems are reported together
            output_loading_info=True,
        )
        problems = [
            f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in report[kind]))}"
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
            if report[kind]
        ]
        if problems:
            raise ValueError(
                f"{path} does not fit AST; check the sizes in the encoder's 'model' settings, "
                f"window_s and the file. " + "; ".join(problems)
            )
        return encoder
