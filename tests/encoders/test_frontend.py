"""Windows, frames and batches of the front end."""

import math

import numpy as np
import pytest
import torch

from pal_plugin.encoders import build_features
from pal_plugin.encoders import frontend as frontend_module
from pal_plugin.encoders.frontend import AudioFrontend

ENCODERS = {
    "sslam": {"type": "sslam", "features": {"window_s": 2.0}},
    "clap": {"type": "clap", "features": {"window_s": 2.0, "n_fft": 2048, "hop_length": 960}},
    "whisper": {"type": "whisper", "features": {"window_s": 2.0}, "model": {}, "checkpoint": None},
}


def noise(seconds: float, rate_hz: int = 16000) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
    return (0.1 * samples).astype(np.float32)


# 44.1 kHz and 2.00002 s: one sample more than a window is a further window for every encoder.
@pytest.mark.parametrize("rate_hz", [16000, 44100])
@pytest.mark.parametrize("seconds", [1e-4, 0.02, 2.0, 2.02, 4.3])
def test_every_encoder_keeps_all_of_the_clip(seconds, rate_hz):
    clip = AudioFrontend(ENCODERS)((noise(seconds, rate_hz), rate_hz))
    windows = math.ceil(seconds / 2.0)
    for name, hop_s in (("sslam", 0.01), ("clap", 0.02), ("whisper", 0.01)):
        frames = clip[name]["frames"]
        assert len(clip[name]["features"]) == len(frames) == windows, name
        assert frames.dtype == torch.long
        assert frames.min() >= 1
        # Kaldi frames need their whole 25 ms: up to two are missing at the clip's end.
        slack = 3 if name == "sslam" else 1
        assert abs(frames.sum() - seconds / hop_s) <= slack, name
        assert torch.isfinite(clip[name]["features"]).all()


def test_windows_hold_consecutive_audio():
    long = noise(4.0)
    for name in ("clap", "whisper"):
        features = build_features(name, ENCODERS[name]["features"])
        rate_hz = features.sample_rate_hz
        long = noise(4.0, rate_hz)
        both = features(torch.from_numpy(long))["features"]
        second = features(torch.from_numpy(long[2 * rate_hz :]))["features"]
        torch.testing.assert_close(both[1:], second, atol=1e-4, rtol=0)


def test_audio_is_resampled_once_per_rate(monkeypatch):
    rates = []
    original = frontend_module.resample

    def counting(waveform, from_hz, to_hz):
        rates.append(to_hz)
        return original(waveform, from_hz, to_hz)

    monkeypatch.setattr(frontend_module, "resample", counting)
    AudioFrontend(ENCODERS)((noise(0.5, 22050), 22050))
    assert sorted(rates) == [16000, 48000]


def test_collate_joins_the_windows_and_counts_them():
    frontend = AudioFrontend(ENCODERS)
    clips = [frontend((noise(seconds), 16000)) for seconds in (0.5, 5.0, 2.0)]
    batch = frontend.collate(clips)
    for name, part in batch.items():
        assert part["windows"].tolist() == [1, 3, 1]
        assert len(part["features"]) == len(part["frames"]) == 5
        torch.testing.assert_close(part["features"][1:4], clips[1][name]["features"])


def test_wrong_front_ends_and_batches_are_named():
    with pytest.raises(ValueError, match="at least one encoder"):
        AudioFrontend({})
    with pytest.raises(ValueError, match="has no 'type'"):
        AudioFrontend({"ears": {"features": {}}})
    with pytest.raises(ValueError, match=r"'feature'.*did you mean 'features'"):
        AudioFrontend({"ears": {"type": "clap", "feature": {}}})
    with pytest.raises(ValueError, match="empty list"):
        AudioFrontend.collate([])
    with pytest.raises(ValueError, match="same encoders"):
        AudioFrontend.collate([{"clap": {}}, {"whisper": {}}])
    with pytest.raises(ValueError, match=r"got torch.float32 \(2, 100\)"):
        build_features("clap")(torch.zeros(2, 100))
    with pytest.raises(ValueError, match="whole number of samples"):
        build_features("clap", {"window_s": 0.33333})


@pytest.mark.parametrize(("extra", "windows"), [(0, 1), (44, 1), (440, 1), (442, 2), (4410, 2)])
def test_a_rest_below_ten_milliseconds_opens_no_window(extra, windows):
    entry = {"type": "whisper", "features": {"window_s": 1.28}}
    frontend = AudioFrontend(
        {"whisper": entry, "sslam": {"type": "sslam", "features": {"window_s": 1.28}}}
    )
    clip = (np.random.default_rng(0).normal(size=round(1.28 * 44_100) + extra), 44_100)
    counts = {name: len(part["frames"]) for name, part in frontend(clip).items()}
    assert counts == {"whisper": windows, "sslam": windows}
