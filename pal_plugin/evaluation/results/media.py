"""Pictures and sound inside an HTML file."""

from __future__ import annotations

import base64
import io

import numpy as np

#: Of a spectrogram: mel bands, and frames (longer clips are averaged over time).
_BANDS, _FRAMES = 64, 400
#: Range of the colours, in dB below the loudest point.
_RANGE_DB = 70.0


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a `data:` URI; `kind` is the MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def spectrogram(samples: np.ndarray, rate_hz: int) -> bytes | None:
    """A log-mel spectrogram from 0 Hz to `rate_hz / 2` as a PNG, time to the right.

    Args:
        samples: `[S]`, at least one.
        rate_hz: sampling rate.

    Returns:
        None if matplotlib is not installed.
    """
    try:
        from matplotlib.image import imsave
    except ImportError:
        return None
    import torch
    from transformers.audio_utils import mel_filter_bank

    size = max(512, 2 * (len(samples) // _FRAMES // 2))
    signal = torch.nn.functional.pad(torch.from_numpy(np.asarray(samples)), (0, size))
    frames = torch.stft(
        signal, size, size // 2, window=torch.hann_window(size), center=False, return_complex=True
    )
    filters = mel_filter_bank(size // 2 + 1, _BANDS, 0.0, rate_hz / 2, rate_hz, "slaney", "slaney")
    power = torch.from_numpy(filters).float().T @ frames.abs().square()
    level_db = 10 * power.clamp(min=1e-10).log10()
    top = float(level_db.max())
    file = io.BytesIO()
    imsave(file, level_db.numpy(), vmin=top - _RANGE_DB, vmax=top, cmap="magma", origin="lower")
    return file.getvalue()
