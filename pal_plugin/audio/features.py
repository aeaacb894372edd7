"""From clips to an encoder's input: windows, their overlap, a limit, and the precision.

Design choice: the unit of work is a batch of clips of any lengths, and one clip is a batch of one.
So a data worker, which has one clip at a time, and a GPU, which takes many, run the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

#: Of one clip or of a batch: `{encoder: {"features": [W, ...], "frames": Long[W]}}`, W windows.
Features = dict[str, dict[str, Tensor]]
#: What most of the arithmetic is done in. The features are float32 either way.
PRECISIONS = {"fast": torch.float32, "exact": torch.float64}


class AudioFeatures:
    """Log-mel front end of one encoder.

    A clip is cut into windows. Window i starts at `i * (window_s - overlap_s)`, and there are as
    many as it takes to hear all of the clip: W = 1 + ceil(max(0, S - window) / shift) for S samples
    and shift = window - overlap. The last one is filled up the way the encoder's reference pads.
    Encoders with the same `window_s` and `overlap_s` make the same number of windows, whatever
    their sample rate.

    Subclasses implement `extract` and take what is below `window_s` here as further keywords.

    Args:
        sample_rate_hz: the rate that `__call__` expects.
        window_s: seconds per window.
        overlap_s: seconds that a window shares with the one before it. `merge_windows` drops the
            tokens that are there twice.
        max_s: seconds of a clip that are heard; None for all. Each cut is logged as a warning.
        precision: "fast" (float32) or "exact" (float64).

    Raises:
        ValueError: times that are no whole number of samples, an overlap that is not shorter than
            the window, or an unknown precision.
    """

    extra_arguments = ("overlap_s", "max_s", "precision")
    #: Windows start at multiples of this many samples.
    step_samples = 1
    #: Axis of the mel channels: the last, behind time, or the one before it (Whisper).
    mel_axis = -1
    #: Seconds from one feature frame to the next.
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
                f"overlap_s must be less than window_s = {window_s}, got {overlap_s}: the next "
                "window would not come later"
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
        """The type of the arithmetic."""
        return PRECISIONS[self.precision]

    def fits(self, seconds: float) -> bool:
        """Whether windows can start after so many seconds: a whole number of steps."""
        steps = seconds * self.sample_rate_hz / self.step_samples
        return abs(steps - round(steps)) <= 1e-6 * max(1.0, steps)

    def __call__(self, waveform: Tensor, name: str = "a clip") -> dict[str, Tensor]:
        """`[S]` at `sample_rate_hz` -> `{"features": [W, ...], "frames": Long[W]}`.

        `frames[w]` is the number of feature frames of window w that belong to the clip, at
        least 1.

        Args:
            name: what a warning calls the clip.

        Raises:
            ValueError: not a floating-point `[S]` with S >= 1.
        """
        made = self.batch([waveform], [name])
        return {key: made[key] for key in ("features", "frames")}

    @torch.no_grad()
    def batch(
        self, waveforms: Sequence[Tensor], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Clips `[S_c]` of any lengths, on one device, in one go.

        Returns:
            `{"features": [sum W, ...], "frames": Long[sum W], "windows": Long[C]}`, as
            `AudioFrontend.collate` joins single clips: the windows of clip c are `windows[c]`
            consecutive rows. Features are float32; they and `frames` are on the clips' device,
            `windows` is on the CPU.

        Raises:
            ValueError: no clips, or one that is not a floating-point `[S]` with S >= 1.
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
        """Clips `[S_c]` in `dtype` -> (features `[sum W, ...]`, valid frames of each window)."""
        raise NotImplementedError

    def window_lengths(self, samples: int) -> list[int]:
        """How many samples of a clip each of its windows holds."""
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
        """How many of a clip's samples at `rate_hz` are heard, by `max_s`."""
        if self.max_s is None:
            return samples
        return min(samples, max(1, int(self.max_s * rate_hz + 1e-6)))

    def _limited(self, waveform: Tensor, name: str) -> Tensor:
        heard = self.used_samples(len(waveform), self.sample_rate_hz)
        if heard < len(waveform):
            report_cut(name, len(waveform) / self.sample_rate_hz, self.max_s)
        return waveform[:heard]


def _without_autocast(device: torch.device) -> AbstractContextManager:
    """Under autocast the sum over frequencies would be made in half precision."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def report_cut(name: str, seconds: float, max_s: float, encoders: Sequence[str] = ()) -> None:
    """Log that a clip is longer than the limit."""
    who = f" by {', '.join(encoders)}" if encoders else ""
    logger.warning(
        "%s is %.2f s long; its first %g s are heard%s, the rest is cut (max_s of the features)",
        name,
        seconds,
        max_s,
        who,
    )
