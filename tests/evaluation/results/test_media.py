"""A spectrogram shows where in time and frequency there is sound."""

import io
import sys

import numpy as np
import pytest

from pal_plugin.evaluation.results.media import data_uri, spectrogram


def test_data_uris_hold_the_bytes():
    assert data_uri(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="


@pytest.mark.parametrize("seconds", [0.001, 1.0, 20.0])
def test_a_tone_is_bright_at_its_place(seconds):
    image = pytest.importorskip("matplotlib.image")
    rate_hz = 16000
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    tone = np.sin(2 * np.pi * 3000 * time_s).astype(np.float32) * (time_s > seconds / 2)
    pixels = image.imread(io.BytesIO(spectrogram(tone.astype(np.float32), rate_hz)))
    brightness = pixels[..., :3].sum(-1)
    assert brightness.shape[1] <= 900
    if seconds >= 1:
        left, right = np.array_split(brightness, 2, axis=1)
        assert right.mean() > left.mean()
        row = brightness[:, int(0.75 * brightness.shape[1])].argmax()
        assert 0.2 * len(brightness) < row < 0.5 * len(brightness)  # 3 of 8 kHz, mel, from the top


def test_without_matplotlib_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    assert spectrogram(np.ones(10, np.float32), 16000) is None
