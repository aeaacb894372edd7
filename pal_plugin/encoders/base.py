"""What an audio encoder is to the rest: a log-mel front end and a module that yields AudioTokens.

Design choice: an encoder's `state_dict` has the key names of a public checkpoint layout, so what
is saved here is read elsewhere and the other way round.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pal_plugin.types import AudioTokens


class AudioFeatures:
    """Log-mel front end of one encoder.

    A clip is cut into W = ceil(seconds / window_s) consecutive windows without overlap; the last
    one is filled up the way the encoder's reference pads. All of the clip is kept. Encoders with
    the same `window_s` make the same number of windows, whatever their sample rate, as long as
    `window_s` is a whole number of samples at each rate.

    Args:
        sample_rate_hz: the rate that `__call__` expects.
        window_s: seconds per window.
    """

    def __init__(self, sample_rate_hz: int, window_s: float) -> None:
        samples = window_s * sample_rate_hz
        if samples < 1 or abs(samples - round(samples)) > 1e-6 * samples:
            raise ValueError(
                f"window_s must be a positive whole number of samples at {sample_rate_hz} Hz, "
                f"got {window_s} s = {samples} samples"
            )
        self.sample_rate_hz = sample_rate_hz
        self.window_s = window_s
        self.window_samples = round(samples)

    def __call__(self, waveform: Tensor) -> dict[str, Tensor]:
        """`[S]` at `sample_rate_hz` -> `{"features": [W, ...], "frames": Long[W]}`.

        `frames[w]` is the number of feature frames of window w that belong to the clip, at
        least 1.

        Raises:
            ValueError: not a floating-point `[S]` with S >= 1.
        """
        if waveform.dim() != 1 or waveform.numel() == 0 or not waveform.is_floating_point():
            raise ValueError(
                "expected a mono floating-point waveform [S] with S >= 1, "
                f"got {waveform.dtype} {tuple(waveform.shape)}"
            )
        features, frames = self.extract(waveform.to(torch.float32))
        return {"features": features, "frames": frames}

    def extract(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """`[S]` float32 -> (features `[W, ...]`, frames Long `[W]`)."""
        raise NotImplementedError

    def frames_per_window(self, samples: int, hop_length: int) -> Tensor:
        """Frames that start inside the clip, Long `[W]`: ceil(samples of the window / hop)."""
        full, rest = divmod(samples, self.window_samples)
        lengths = [self.window_samples] * full + [rest] * (rest > 0)
        return torch.tensor([-(-length // hop_length) for length in lengths])


class AudioEncoder(nn.Module):
    """Base of the encoders.

    Attributes:
        width: channels D of the tokens.
        window_s: seconds that one window covers.
        grid: `(time cells, frequency cells)` of one window, or None for a plain sequence.
        Features: the AudioFeatures class that makes this encoder's input.
    """

    Features: type[AudioFeatures]
    width: int
    window_s: float
    grid: tuple[int, int] | None

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, ...]` (and Long `[W]` valid frames; None: all) -> AudioTokens of W rows.

        Cells after the clip's end are False in the mask; each row has at least one True cell.
        """
        raise NotImplementedError

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> AudioEncoder:
        """Build with the arguments `model` and load `path`; see the subclass for the layouts."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> AudioEncoder:
        """As `nn.Module.train`, but an encoder without a trainable parameter stays in eval mode:
        frozen means that its features do not change (no dropout, no BatchNorm update)."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def as_input(self, features: Tensor, dims: int, expected: str) -> Tensor:
        """Check the number of dimensions and cast to the weights' dtype."""
        if features.dim() != dims:
            raise ValueError(
                f"{type(self).__name__} expects features {expected}, got {tuple(features.shape)}"
            )
        return features.to(next(self.parameters()).dtype)

    @staticmethod
    def valid_cells(frames: Tensor | None, windows: Tensor, cells: int, per_cell: float) -> Tensor:
        """Bool `[W, cells]`: the first ceil(frames / per_cell) cells, at least one.

        Args:
            frames: Long `[W]`, or None for all cells.
            windows: `[W, ...]` features, for the number of rows and the device.
        """
        count = len(windows)
        if frames is None:
            return torch.ones(count, cells, dtype=torch.bool, device=windows.device)
        if frames.shape != (count,):
            raise ValueError(f"expected frames [{count}], got {tuple(frames.shape)}")
        # The small term keeps an exact quotient from being rounded up.
        valid = torch.ceil(frames.to(windows.device) / per_cell - 1e-6).clamp(1, cells)
        return torch.arange(cells, device=windows.device) < valid[:, None]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: `.safetensors`, a torch file (`.pt`, `.pth`, `.bin`; read with
    `weights_only=True`), or a folder as `save_pretrained` writes it (shards included).

    A training file that nests the weights under "model" or "state_dict" is unpacked.

    Raises:
        FileNotFoundError, ValueError: nothing there, or no known form.
    """
    path = Path(path)
    if path.is_dir():
        for index in path.glob("*.index.json"):
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
            return {k: v for shard in shards for k, v in read_weights(path / shard).items()}
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (path / name).is_file():
                return read_weights(path / name)
        raise FileNotFoundError(f"no model.safetensors or pytorch_model.bin in {path}")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"expected a .safetensors, .pt, .pth or .bin checkpoint, got {path.name}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} holds more than tensors and is not unpickled, because that runs code "
            "from the file; where you trust it, extract its tensors to .safetensors"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, expected named tensors")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def load_weights(
    module: nn.Module,
    weights: dict[str, Tensor],
    source: str | Path,
    computed: tuple[str, ...] = (),
) -> None:
    """Load every tensor, or say exactly what does not fit.

    Args:
        computed: endings of keys that may be absent because the module computes them itself.

    Raises:
        ValueError: names every missing, unexpected and misshapen key.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in weights and not k.endswith(computed or ("\0",))]
    unexpected = [k for k in weights if k not in own]
    shapes = [
        f"{k}: checkpoint {tuple(weights[k].shape)}, model {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    problems = [
        f"{title}: {', '.join(keys)}"
        for title, keys in (
            ("missing keys", missing),
            ("unexpected keys", unexpected),
            ("other shapes", shapes),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}; check the sizes in the encoder's "
            f"'model' settings and the file. " + "; ".join(problems)
        )
    # Complete by the check above; the keys in `computed` keep the module's own values.
    module.load_state_dict({**own, **weights})
