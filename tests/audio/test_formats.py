"""Every rate, number of channels and sample type decodes to the mean of the channels."""

import io

import numpy as np
import pytest
import soundfile
import torch

from pal_plugin.audio.io import load_audio

# Largest error of one sample: half a step of the integer types.
PCM = {"PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 1e-7, "FLOAT": 1e-7, "DOUBLE": 1e-7}


def noise(channels: int, rate_hz: int, seconds: float = 0.1) -> np.ndarray:
    generator = np.random.default_rng(channels)
    return generator.uniform(-0.9, 0.9, (round(rate_hz * seconds), channels))


def encode(samples: np.ndarray, rate_hz: int, container: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", PCM)
@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_wav_is_the_mean_of_its_channels(rate_hz, subtype, channels):
    samples = noise(channels, rate_hz)
    waveform, decoded_hz = load_audio(encode(samples, rate_hz, "WAV", subtype))
    assert decoded_hz == rate_hz
    assert waveform.dtype == torch.float32
    expected = torch.from_numpy(samples.mean(axis=1).astype(np.float32))
    torch.testing.assert_close(waveform, expected, atol=PCM[subtype], rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
@pytest.mark.parametrize("container", ["FLAC", "AIFF", "AU", "CAF", "RF64", "W64", "WAVEX", "NIST"])
def test_other_lossless_containers_are_the_same(container, rate_hz, subtype, channels):
    samples = noise(channels, rate_hz)
    waveform, decoded_hz = load_audio(encode(samples, rate_hz, container, subtype))
    assert decoded_hz == rate_hz
    expected = torch.from_numpy(samples.mean(axis=1).astype(np.float32))
    torch.testing.assert_close(waveform, expected, atol=PCM[subtype], rtol=0)


@pytest.mark.parametrize(
    ("container", "subtype", "rates", "channels"),
    [
        ("OGG", "VORBIS", (8000, 11025, 22050, 44100, 96000), (1, 2, 6)),
        ("OGG", "OPUS", (8000, 16000, 48000), (1, 2, 6)),
        ("MP3", "MPEG_LAYER_III", (8000, 11025, 22050, 44100, 48000), (1, 2)),
    ],
)
def test_lossy_formats_keep_length_and_sound(container, subtype, rates, channels):
    for rate_hz in rates:
        for count in channels:
            time_s = np.arange(rate_hz) / rate_hz
            tones = np.sin(2 * np.pi * np.outer(time_s, 220 * (1 + np.arange(count))))
            tones[:, 5:] = 0  # in 5.1 it is for the lowest notes only, and codecs filter it
            waveform, decoded_hz = load_audio(encode(0.3 * tones, rate_hz, container, subtype))
            assert (decoded_hz, len(waveform)) == (rate_hz, rate_hz), (rate_hz, count)
            likeness = np.corrcoef(waveform.numpy(), 0.3 * tones.mean(axis=1))[0, 1]
            assert likeness > 0.97, (rate_hz, count)


def test_a_wav_that_was_piped_decodes_to_its_end():
    samples = noise(1, 16000)
    data = encode(samples, 16000, "WAV", "PCM_16")
    at = data.index(b"data") + 4
    piped = data[:at] + b"\xff" * 4 + data[at + 4 :]  # a writer that could not go back
    assert torch.equal(load_audio(piped)[0], load_audio(data)[0])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_of_ogg_streams_is_one_clip(subtype):
    first, second = (encode(noise(1, 16000, s), 16000, "OGG", subtype) for s in (0.5, 0.7))
    joined = torch.cat([load_audio(first)[0], load_audio(second)[0]])
    assert torch.equal(load_audio(first + second)[0], joined)
