"""A clip as pictures: its waveform, and its log-mel spectrum as Whisper's front end makes it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import hertz_to_mel

from pal_plugin.audio.io import resample
from pal_plugin.audio.mel import hann, slaney_filters, windowed_power_mel
from pal_plugin.hosts.page.axes import framed, of_time, steps
from pal_plugin.hosts.page.clips import PageClip

#: Of the log-mel spectrum: rate of its samples, samples of a frame and of a hop, channels, and the
#: range in dB below the loudest that is shown.
RATE_HZ, FRAME, HOP, MELS, RANGE_DB = 16_000, 400, 160, 80, 80.0
HIGHEST_HZ = 8000
#: Columns of a picture; longer clips are joined to so many.
COLUMNS = 800
#: Labels of the frequency axis.
_LABELLED_HZ = (0, 500, 1000, 2000, 4000, 8000)


@lru_cache(maxsize=64)
def picture(clip: PageClip) -> str:
    """Waveform and log-mel spectrum of a clip, as HTML."""
    length = f"{clip.seconds:.1f} s"
    peak = float(np.abs(clip.samples).max())
    wave = framed(
        waveform(clip),
        f"Waveform of {clip.name}: {length}, peak {peak:.2f} of full scale",
        of_time(clip.seconds),
        [(f"{value:.3g}", (value / (peak or 1) + 1) / 2) for value in steps(-peak, peak, 5)],
        "",
        "Amplitude",
    )
    mel = framed(
        f'<img class="pal-mel" alt="" src="{png(log_mel(clip))}">',
        f"Log-mel spectrum of {clip.name}: {length}, 0 to {HIGHEST_HZ} Hz, "
        f"{RANGE_DB:.0f} dB below its loudest",
        of_time(clip.seconds),
        [(str(hz), _height(hz)) for hz in _LABELLED_HZ],
        "Time (s)",
        "Frequency (Hz)",
    )
    return f'<div class="pal-pictures">{wave}{mel}</div>'


def waveform(clip: PageClip) -> str:
    """The range of the samples in each column, as SVG; the peak fills its height."""
    columns = min(COLUMNS, len(clip.samples))
    edges = np.linspace(0, len(clip.samples), columns, endpoint=False).astype(int)
    scale = float(np.abs(clip.samples).max()) or 1.0
    upper = 100 - 100 * np.maximum.reduceat(clip.samples, edges) / scale
    lower = 100 - 100 * np.minimum.reduceat(clip.samples, edges) / scale
    there = " ".join(f"{x} {y:.1f}" for x, y in enumerate(upper))
    back = " ".join(f"{x} {lower[x]:.1f}" for x in range(columns - 1, -1, -1))
    return (
        f'<svg class="pal-wave" viewBox="0 0 {max(columns - 1, 1)} 200" '
        f'preserveAspectRatio="none" aria-hidden="true"><path d="M{there} {back}Z"/></svg>'
    )


def log_mel(clip: PageClip) -> Tensor:
    """`[channels, columns]`, 0 (`RANGE_DB` below the loudest) to 1; of silence all 0."""
    samples = resample(torch.from_numpy(clip.samples), clip.rate_hz, RATE_HZ)
    kind, device = torch.float32, torch.device("cpu")
    filters = slaney_filters(FRAME, MELS, RATE_HZ, 0.0, float(HIGHEST_HZ), kind, device)
    window = hann(FRAME, True, kind, device)
    (power,) = windowed_power_mel([samples], max(len(samples), FRAME), HOP, window, filters)
    power = power[: max(1, len(samples) // HOP)].T
    if power.shape[1] > COLUMNS:
        power = torch.nn.functional.adaptive_avg_pool1d(power, COLUMNS)
    loudest = power.max()
    if not loudest > 0:
        return torch.zeros_like(power)
    decibels = 10 * torch.log10((power / loudest).clamp(min=1e-12))
    return (decibels / RANGE_DB + 1).clamp(min=0)


def png(levels: Tensor) -> str:
    """Levels `[rows, columns]` of 0 to 1, lowest row at the bottom, as opacity of black: a data URI
    that dark pages invert."""
    from PIL import Image

    alpha = (levels.flip(0) * 255).round().byte().numpy()
    image = Image.merge("LA", [Image.new("L", alpha.shape[::-1]), Image.fromarray(alpha)])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _height(hz: float) -> float:
    """Where a frequency is on the mel axis, from 0 to 1."""
    return float(hertz_to_mel(hz, "slaney") / hertz_to_mel(HIGHEST_HZ, "slaney"))


def strip(levels: Sequence[float], spans: Sequence[tuple[float, float]], seconds: float) -> str:
    """Levels of 0 to 1 over spans of time, as columns in SVG from 0 to `seconds`."""
    columns = "".join(
        f"M{start:.3f} 1V{1 - level:.4f}H{min(end, seconds):.3f}V1Z"
        for level, (start, end) in zip(levels, spans, strict=True)
        if start < seconds
    )
    return (
        f'<svg viewBox="0 0 {seconds:.3f} 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{columns}"/></svg>'
    )
