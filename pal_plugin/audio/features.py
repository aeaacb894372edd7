"""Front-end base class: from clips to windows of encoder features.

Design choice: the unit of work is a batch of clips of any length; one clip is a batch of one. So
DataLoader workers, with one clip at a time, and a GPU, with many, run the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

#: Features of a clip or batch: `{encoder: {"features": [W, ...], "frames": long [W]}}`, W windows.
Features = dict[str, dict[str, Tensor]]
#: Compute dtypes. Features are returned as float32 in either case.
PRECISIONS = {"fast": torch.float32, "exact": torch.float64}


class AudioFeatures:
    """Log-mel front end of one encoder.

    A clip is split into windows that start at `i * (window_s - overlap_s)` and cover the whole
    clip: W = 1 + ceil(max(0, S - window) / shift) for S samples and shift = window - overlap. The
        last
    window is padded as in the encoder's reference. Encoders with equal `window_s` and `overlap_s`
    have the same number of windows, whatever their sampling rates.

    Subclasses implement `extract` and accept the arguments after `window_s` as keywords.

    Args:
        sample_rate_hz: sampling rate of the input of `__call__`, in Hz.
        window_s: window length in seconds.
        overlap_s: overlap of consecutive windows in seconds. `merge_windows` drops the duplicate
            tokens.
        max_s: maximum length in seconds; longer clips are truncated, with a warning. None: no
            limit.
        precision: "fast" (float32) or "exact" (float64).

    Raises:
        ValueError: if a time is not a whole number of samples, the overlap is not shorter than the
            window, or the precision is unknown.
    """

    extra_arguments = ("overlap_s", "max_s", "precision")
    #: Window starts are multiples of this many samples.
    step_samples = 1
    #: Axis of the mel bins: the last, after time, or the one before it (Whisper). None: there are
    #: none.
    mel_axis: int | None = -1
    #: Hop between feature frames in seconds.
    frame_s = 0.01

    def __init__(
        self,
        sample_rate_hz: int,
        window_s: float,
        overlap_s: float = 0.0,
        max_s: float | None = None,
        precision: str = "fast",
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        times = [("window_s", window_s, 1), ("overlap_s", overlap_s, 0)]
        times += [] if max_s is None else [("max_s", max_s, 1)]
        for name, seconds, least in times:
            if seconds * sample_rate_hz < least or not self.fits(seconds):
                raise ValueError(
                    f"{name} must be a {'positive ' * least}whole number of samples at "
                    f"{sample_rate_hz} Hz, in steps of {self.step_samples}; got {seconds} s = "
                    f"{seconds * sample_rate_hz} samples"
                )
        if overlap_s >= window_s:
            raise ValueError(
                f"overlap_s must be less than window_s = {window_s}, got {overlap_s}: windows "
                "would not advance"
            )
        if precision not in PRECISIONS:
            raise ValueError(
                f"unknown precision {precision!r}; known: {', '.join(sorted(PRECISIONS))}"
            )
        self.window_s, self.overlap_s, self.max_s = window_s, float(overlap_s), max_s
        self.precision = precision
        self.window_samples = round(window_s * sample_rate_hz)
        self.shift_samples = self.window_samples - round(overlap_s * sample_rate_hz)

    @property
    def dtype(self) -> torch.dtype:
        """The compute dtype."""
        return PRECISIONS[self.precision]

    def fits(self, seconds: float) -> bool:
        """Whether a duration is a whole number of steps, so that windows can start after it."""
        steps = seconds * self.sample_rate_hz / self.step_samples
        return abs(steps - round(steps)) <= 1e-6 * max(1.0, steps)

    def __call__(self, waveform: Tensor, name: str = "a clip") -> dict[str, Tensor]:
        """Waveform `[S]` at `sample_rate_hz` -> `{"features": [W, ...], "frames": long [W]}`.

        `frames[w]` is the number of valid feature frames in window w, at least 1.

        Args:
            name: name of the clip in warnings.

        Raises:
            ValueError: if the waveform is not floating-point `[S]` with S >= 1.
        """
        made = self.batch([waveform], [name])
        return {key: made[key] for key in ("features", "frames")}

    @torch.no_grad()
    def batch(
        self, waveforms: Sequence[Tensor], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Computes features of clips `[S_c]` of any length, on one device, as one batch.

        Returns:
            `{"features": [sum W, ...], "frames": long [sum W], "windows": long [C]}`, as
            `AudioFrontend.collate` joins single clips: clip c has `windows[c]` consecutive rows.
            Features are float32; they and `frames` are on the clips' device, `windows` on the CPU.

        Raises:
            ValueError: if there are no clips, or one is not floating-point `[S]` with S >= 1.
        """
        if not waveforms:
            raise ValueError("expected at least one waveform, got none")
        for waveform in waveforms:
            if waveform.dim() != 1 or waveform.numel() == 0 or not waveform.is_floating_point():
                raise ValueError(
                    "expected a mono floating-point waveform [S] with S >= 1, "
                    f"got {waveform.dtype} {tuple(waveform.shape)}"
                )
        device = waveforms[0].device
        names = ["a clip"] * len(waveforms) if names is None else names
        clips = [
            self._limited(waveform, name).to(device, self.dtype)
            for waveform, name in zip(waveforms, names, strict=True)
        ]
        with _without_autocast(device):
            features, frames = self.extract(clips)
        windows = torch.tensor([len(self.window_lengths(len(clip))) for clip in clips])
        frames = torch.tensor(frames, device=device)
        return {"features": features.to(torch.float32), "frames": frames, "windows": windows}

    def extract(self, clips: list[Tensor]) -> tuple[Tensor, list[int]]:
        """Clips `[S_c]` in `dtype` -> (features `[sum W, ...]`, valid frames per window)."""
        raise NotImplementedError

    def window_lengths(self, samples: int) -> list[int]:
        """Number of samples of a clip in each of its windows."""
        later = max(0, samples - self.window_samples)
        starts = range(0, later + self.shift_samples, self.shift_samples)
        return [min(self.window_samples, samples - start) for start in starts]

    def cut(self, clips: list[Tensor]) -> list[Tensor]:
        """The windows of all clips in order, views `[<= window_samples]`."""
        return [
            clip[i * self.shift_samples :][:length]
            for clip in clips
            for i, length in enumerate(self.window_lengths(len(clip)))
        ]

    def used_samples(self, samples: int, rate_hz: int) -> int:
        """Number of samples of a clip, at `rate_hz`, within `max_s`."""
        if self.max_s is None:
            return samples
        return min(samples, max(1, int(self.max_s * rate_hz + 1e-6)))

    def _limited(self, waveform: Tensor, name: str) -> Tensor:
        used = self.used_samples(len(waveform), self.sample_rate_hz)
        if used < len(waveform):
            report_cut(name, len(waveform) / self.sample_rate_hz, self.max_s)
        return waveform[:used]


def _without_autocast(device: torch.device) -> AbstractContextManager:
    """Autocast would sum over frequencies in half precision."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def report_cut(name: str, seconds: float, max_s: float, encoders: Sequence[str] = ()) -> None:
    """Logs that a clip exceeds the length limit.

    Args:
        seconds, max_s: length of the clip and the limit, in seconds.
        encoders: names of the encoders with this limit.
    """
    for_encoders = f" for {', '.join(encoders)}" if encoders else ""
    logger.warning(
        "%s is %.2f s long; truncating it to %g s%s (max_s of the features)",
        name,
        seconds,
        max_s,
        for_encoders,
    )
