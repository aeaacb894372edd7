"""All front ends: their numbers against the stock extractors, batches, devices, limits."""

import logging
import math

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi
from transformers import ASTFeatureExtractor, ClapFeatureExtractor, WhisperFeatureExtractor

from pal_plugin.encoders import ENCODERS, build_features

SECONDS = 4.0
#: Those with a stock extractor; `xares` takes the waveform.
MEL = [name for name in ENCODERS if name != "xares"]


#: What one unit of the features is in dB of power.
DECIBELS = {
    "ast": 2 * 4.5689974 * 10 / math.log(10),
    "clap": 1.0,
    "sslam": 2 * 4.569 * 10 / math.log(10),
    "whisper": 40.0,
}


SIGNALS = {
    "noise": lambda t: 0.1 * np.random.default_rng(0).standard_normal(len(t)),
    "sweep": lambda t: np.sin(2 * np.pi * (100 + 600 * t) * t),
    "tone": lambda t: np.sin(2 * np.pi * 1000 * t),
    "silence": np.zeros_like,
    "clipped square": lambda t: np.clip(5 * np.sin(2 * np.pi * 220 * t), -1, 1),
    "quiet noise": lambda t: 1e-5 * np.random.default_rng(0).standard_normal(len(t)),
    "quiet sweep": lambda t: 1e-4 * np.sin(2 * np.pi * (100 + 600 * t) * t),
    "click": lambda t: np.eye(1, len(t), len(t) // 3)[0],
    "constant": lambda t: np.full_like(t, 0.5),
}


def signal(kind: str, rate_hz: int, seconds: float = SECONDS) -> torch.Tensor:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return torch.from_numpy(SIGNALS[kind](time).astype(np.float32))


def kaldi_bank(waveform: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """torchaudio's bank, padded to 1024 frames and then normalised."""
    bank = kaldi.fbank(
        waveform[None],
        htk_compat=True,
        sample_frequency=16000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    return (torch.nn.functional.pad(bank, (0, 0, 0, 1024 - len(bank))) - mean) / (2 * std)


def stock(name: str, waveform: torch.Tensor) -> torch.Tensor:
    """What the reference makes of one clip shorter than its window, `[1, ...]`."""
    if name == "sslam":
        return kaldi_bank(waveform - waveform.mean(), -4.268, 4.569)[None, None]
    extractor = {
        "ast": ASTFeatureExtractor(),
        "clap": ClapFeatureExtractor(
            frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="pad"
        ),
        "whisper": WhisperFeatureExtractor(),
    }[name]
    made = extractor(waveform.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="np")
    return torch.from_numpy(np.asarray(next(iter(made.values()))))


def stock_in_float64(name: str, waveform: torch.Tensor) -> torch.Tensor:
    """The same, where it can be had, without the rounding of float32."""
    waveform = waveform.double()
    if name == "sslam":
        return kaldi_bank(waveform - waveform.mean(), -4.268, 4.569)[None, None]
    if name == "ast":
        return kaldi_bank(waveform, -4.2677393, 4.5689974)[None]
    if name == "whisper":
        filled = np.pad(waveform.numpy(), (0, 480000 - len(waveform)))
        made = WhisperFeatureExtractor()._np_extract_fbank_features(filled[None], "cpu")
        return torch.from_numpy(made)
    return stock(name, waveform.float())  # NumPy, which is float64


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("name", MEL)
def test_every_cell_is_within_a_tenth_of_a_decibel_of_the_stock_extractor(name, kind):
    features = build_features(name)
    waveform = signal(kind, features.sample_rate_hz)
    made, expected = features(waveform)["features"], stock(name, waveform)
    assert made.dtype == torch.float32
    assert made.shape == expected.shape
    assert (made - expected).abs().max() * DECIBELS[name] < 0.1


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("name", MEL)
def test_exact_features_are_the_references_without_its_rounding(name, kind):
    features = build_features(name, {"precision": "exact"})
    waveform = signal(kind, features.sample_rate_hz)
    made = features(waveform)["features"]
    torch.testing.assert_close(
        made, stock_in_float64(name, waveform).float(), atol=1e-5, rtol=0, check_dtype=True
    )
    if name in ("clap", "whisper"):  # Kaldi's bank in float32 is itself up to 0.16 dB off
        torch.testing.assert_close(made, stock(name, waveform), atol=1e-4, rtol=0)


def clips(rate_hz: int, device: str = "cpu") -> list[torch.Tensor]:
    """Less than a frame, less than a window, a whole one, several."""
    seconds = (0.001, 0.7, 1.28, 4.1, 2.56)
    return [signal("noise", rate_hz, s).to(device) for s in seconds]


def small(name: str, **settings):
    return build_features(name, {"window_s": 1.28, "overlap_s": 0.32, **settings})


@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_of_clips_equals_the_clips_one_by_one(name, precision):
    features = small(name, precision=precision)
    batch = features.batch(waveforms := clips(features.sample_rate_hz))
    alone = [features(waveform) for waveform in waveforms]
    assert batch["windows"].tolist() == [1, 1, 1, 4, 3]
    assert batch["windows"].tolist() == [len(clip["frames"]) for clip in alone]
    assert torch.equal(batch["frames"], torch.cat([clip["frames"] for clip in alone]))
    expected = torch.cat([clip["features"] for clip in alone])
    torch.testing.assert_close(batch["features"], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_is_made_on_another_device_than_the_clips(name):
    features = small(name)
    batch = features.batch(clips(features.sample_rate_hz, "meta"))
    on_cpu = features.batch(clips(features.sample_rate_hz))
    assert batch["features"].device.type == batch["frames"].device.type == "meta"
    assert batch["features"].shape == on_cpu["features"].shape
    assert batch["windows"].device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize("name", MEL)
def test_a_gpu_makes_what_the_cpu_makes(name, precision):
    features = small(name, precision=precision)
    waveforms = [*clips(features.sample_rate_hz), signal("sweep", features.sample_rate_hz)]
    on_cpu = features.batch(waveforms)
    on_gpu = features.batch([waveform.cuda() for waveform in waveforms])
    assert on_gpu["features"].device.type == "cuda"
    # Two float32 transforms differ most in a sweep's lowest cells of Kaldi's bank.
    limit_db = 0.2 if precision == "fast" else 1e-3
    error_db = (on_gpu["features"].cpu() - on_cpu["features"]).abs().max() * DECIBELS[name]
    assert error_db < limit_db
    assert torch.equal(on_gpu["frames"].cpu(), on_cpu["frames"])


@pytest.mark.parametrize("name", ENCODERS)
def test_autocast_does_not_reach_the_features(name):
    features = small(name)
    waveform = clips(features.sample_rate_hz)[3]
    with torch.autocast("cpu", torch.bfloat16):
        made = features(waveform)["features"]
    assert torch.equal(made, features(waveform)["features"])


@pytest.mark.parametrize("name", ["clap", "whisper"])
def test_overlapping_windows_are_windows_of_the_clip(name):
    features = small(name)
    waveform = signal("noise", features.sample_rate_hz, 3.0)
    made = features(waveform)["features"]
    alone = build_features(name, {"window_s": 1.28})
    assert len(made) == 1 + math.ceil((3.0 - 1.28) / 0.96)
    for row in range(len(made)):
        start = round(row * 0.96 * features.sample_rate_hz)
        part = waveform[start : start + features.window_samples]
        torch.testing.assert_close(made[row], alone(part)["features"][0], atol=1e-5, rtol=0)


def test_overlapping_windows_of_one_bank():
    waveform = signal("noise", 16000, 3.0)
    made = small("sslam")(waveform)
    whole = build_features("sslam", {"window_s": 3.2})(waveform)["features"][0, 0]
    assert made["frames"].tolist() == [128, 128, 298 - 192]
    for row, start in enumerate((0, 96, 192)):
        expected = whole[start : start + 128]
        torch.testing.assert_close(made["features"][row, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap_s": 1.28}, r"overlap_s must be less than window_s = 1.28, got 1.28"),
        ({"overlap_s": -0.1}, r"overlap_s must be a whole number of samples"),
        ({"overlap_s": 1e-6}, r"overlap_s must be a whole number of samples"),
        ({"max_s": 0}, r"max_s must be a positive whole number"),
        ({"precision": "double"}, r"unknown precision 'double'; known: exact, fast"),
        ({"overlaps": 1}, r"'overlaps' .did you mean 'overlap_s'"),
    ],
)
@pytest.mark.parametrize("name", ENCODERS)
def test_settings_that_cannot_be_used_are_explained(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build_features(name, {"window_s": 1.28, **settings})


@pytest.mark.parametrize("name", ENCODERS)
def test_a_limit_cuts_and_says_so(name, caplog):
    features = small(name, max_s=2.0)
    waveform = signal("noise", features.sample_rate_hz, 3.0)
    with caplog.at_level(logging.WARNING):
        made = features.batch([waveform, waveform[: 2 * features.sample_rate_hz]], ["a", "b"])
    assert [record.getMessage() for record in caplog.records] == [
        "a is 3.00 s long; truncating it to 2 s (max_s of the features)"
    ]
    first, second = made["features"].chunk(2)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_wrong_clips_are_named():
    features = build_features("clap")
    with pytest.raises(ValueError, match="at least one waveform"):
        features.batch([])
    with pytest.raises(ValueError, match=r"got torch.int16 \(5,\)"):
        features.batch([torch.zeros(5), torch.zeros(5, dtype=torch.int16)])
