"""A class of the user's with the contract of XARES-LLM (arXiv 2603.22728), as an encoder of ours.

The contract: `forward(audio [B, S], mask [B, S]) -> (features [B, N, D], mask [B, N] or None)`, and
`output_dim`, D; masks are 1 within the clip. The front end passes the waveform itself.

Design choice: clips of equal length are encoded together and never padded, so what a class makes of
a mask, and whether it reads it, does not matter.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.types import AudioTokens

#: Environment variable with the modules that may be imported, separated by commas. A model's files
#: name a class too, and must not run what their author likes.
MODULES = "PAL_ENCODER_MODULES"
#: Sampling rate of XARES-LLM's audio.
RATE_HZ = 16000
WINDOW_S = 30.0


class XaresFeatures(AudioFeatures):
    """The waveform in windows, zero after the clip's end; a "frame" is a sample.

    Args:
        window_s: window length in seconds; 30, as XARES-LLM crops its clips.
        sample_rate_hz: the rate that the encoder expects, to which clips are resampled.
        windowing: `overlap_s`, `max_s`, `precision` of AudioFeatures.
    """

    mel_axis = None

    def __init__(
        self, window_s: float = WINDOW_S, sample_rate_hz: int = RATE_HZ, **windowing
    ) -> None:
        super().__init__(sample_rate_hz, window_s, **windowing)
        self.frame_s = 1 / sample_rate_hz

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips [S] -> (`[sum W, samples of a window]`, valid samples per window)."""
        windows = self.cut(clips)
        filled = [pad(window, (0, self.window_samples - len(window))) for window in windows]
        return torch.stack(filled), [len(window) for window in windows]


class Xares(AudioEncoder):
    """A module of the user's with XARES-LLM's contract.

    Args:
        encoder: dotted path of its class, `my_encoder.MyEncoder`; the environment variable
            PAL_ENCODER_MODULES must name the module.
        args: its constructor's arguments.
        window_s: longest audio that it gets, in seconds.
        least_s: shortest audio that it gets; silence follows what is shorter, since many encoders
            cannot take a few samples.

    Raises:
        ValueError: if the module is not named there or has no such class, or if the class is no
            module with parameters, `output_dim` and a `forward` of two arguments.
    """

    Features = XaresFeatures

    def __init__(
        self,
        encoder: str,
        args: Mapping[str, Any] | None = None,
        window_s: float = WINDOW_S,
        least_s: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = find_class(encoder)(**(args or {}))
        check_contract(self.encoder)
        if not 0 <= least_s <= window_s:
            raise ValueError(f"least_s is {least_s}; expected 0 to window_s, {window_s}")
        self.width = self.encoder.output_dim
        self.window_s, self.least_s = window_s, least_s
        self.grid = None
        self._columns: int | None = None

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """Waveforms `[W, S]` -> AudioTokens `[W, N, D]`, N those of a full window.

        Raises:
            ValueError: if what the class returns is not what its contract says.
        """
        audio = self.as_input(features, 2, "[W, S]")
        count, samples = audio.shape
        least = min(samples, round(self.least_s / self.window_s * samples))
        used = [samples] * count if frames is None else [max(n, least) for n in frames.tolist()]
        columns = self._full(audio)
        parts, lengths, order = [], [], []
        for length in dict.fromkeys(used):
            rows = [row for row, n in enumerate(used) if n == length]
            made, valid = self._made(audio[rows, :length])
            if made.shape[1] > columns:
                raise ValueError(
                    f"{self._name} makes {made.shape[1]} tokens of {length} samples, but {columns} "
                    f"of {samples}; expected no more of less audio"
                )
            parts.append(pad(made, (0, 0, 0, columns - made.shape[1])))
            lengths.append(valid)
            order += rows
        back = torch.tensor(order).argsort()
        valid = torch.cat(lengths)[back]
        mask = torch.arange(columns) < valid[:, None]
        features = torch.cat(parts)[back.to(audio.device)]
        return AudioTokens(features, mask.to(audio.device), None, valid)

    @property
    def _name(self) -> str:
        return type(self.encoder).__name__

    @torch.no_grad()
    def _full(self, audio: Tensor) -> int:
        """Number of tokens of a full window, which does not depend on what is in it."""
        if self._columns is None:
            modes = {module: module.training for module in self.encoder.modules()}
            self.encoder.eval()  # silence must not count for running means
            self._columns = self._made(torch.zeros_like(audio[:1]))[0].shape[1]
            for module, mode in modes.items():
                module.training = mode
        return self._columns

    def _made(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, S]` without padding -> (`[B, N, D]`, valid tokens, long `[B]` on the CPU)."""
        made = self.encoder(audio, torch.ones(audio.shape, dtype=torch.long, device=audio.device))
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise ValueError(
                f"{self._name} returned a {type(made).__name__}; expected (features, mask)"
            )
        features, mask = made
        expected = f"[{len(audio)}, N, {self.width}]"
        shape = tuple(getattr(features, "shape", ()))
        if len(shape) != 3 or shape[::2] != (len(audio), self.width) or not shape[1]:
            raise ValueError(f"{self._name} returned features {shape}; expected {expected}")
        features = features.to(audio.device)
        if mask is None:
            return features, torch.full((len(audio),), shape[1], device="cpu")
        if tuple(mask.shape) != shape[:2]:
            raise ValueError(
                f"{self._name} returned a mask {tuple(mask.shape)} for features {shape}; expected "
                f"{shape[:2]} or None"
            )
        if mask.is_meta:  # planning
            return features, torch.full((len(audio),), shape[1], device="cpu")
        kept = mask.detach().cpu() != 0
        valid = kept.sum(1)
        if not torch.equal(kept, torch.arange(shape[1]) < valid[:, None]) or not valid.all():
            raise ValueError(
                f"{self._name} returned a mask with {valid.tolist()} valid tokens in {shape[1]}; "
                "expected at least one in each row, from the first on without gaps"
            )
        return features, valid

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> Xares:
        """Raises ValueError: the class loads its own weights."""
        raise ValueError(
            f"checkpoint is {path}, but a class with XARES-LLM's contract loads its own weights; "
            "give it their place in model: {args: {...}}"
        )


def find_class(path: str) -> type[nn.Module]:
    """The class at a dotted path.

    Raises:
        ValueError: if its module is not named in PAL_ENCODER_MODULES or not found, or it is no
            class of modules.
    """
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"encoder is {path!r}; expected a dotted path, my_encoder.MyEncoder")
    if module not in os.environ.get(MODULES, "").replace(" ", "").split(","):
        raise ValueError(
            f"the encoder {path} is code, and {module} is not named in the environment variable "
            f"{MODULES}; if you trust it, set {MODULES}={module}"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"no module {error.name!r} for the encoder {path}; its folder must be in PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ValueError(f"the encoder {path}: {error}") from error
    if not inspect.isclass(found) or not issubclass(found, nn.Module):
        raise ValueError(f"the encoder {path} is {found!r}; expected a class of torch.nn.Module")
    return found


def check_contract(encoder: nn.Module) -> None:
    """Raises ValueError if it has no parameters, no usable `output_dim`, or `forward` does not take
    audio and mask."""
    name, width = type(encoder).__name__, getattr(encoder, "output_dim", None)
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"{name}.output_dim is {width!r}; expected the size of its features")
    try:
        inspect.signature(encoder.forward).bind("audio", "mask")
    except TypeError as error:
        raise ValueError(f"{name}.forward: {error}; expected (audio, mask)") from error
    if next(encoder.parameters(), None) is None:
        raise ValueError(f"{name} has no parameters; expected a network")
