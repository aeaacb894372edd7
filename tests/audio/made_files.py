"""Files of every format that is read, for the tests that join and damage them."""

from __future__ import annotations

import io
from pathlib import Path

import soundfile
from pyav_files import encode, tones

SNDFILE = [
    *(("WAV", subtype) for subtype in ("PCM_16", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610")),
    *((name, "PCM_16") for name in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("CAF", "ALAC_16"), ("MP3", "MPEG_LAYER_III")),
]
FFMPEG = [
    *(
        ("ipod", "aac"),
        ("mp4", "libmp3lame"),
        ("mov", "pcm_s16le"),
        ("adts", "aac"),
        ("mp2", "mp2"),
    ),
    *(("webm", "libopus"), ("matroska", "aac"), ("matroska", "pcm_s16le"), ("asf", "wmav2")),
    *(("wv", "wavpack"), ("tta", "tta")),
]


def by_sndfile(container: str, subtype: str, rate_hz=16000, channels=1, seconds=0.2) -> bytes:
    buffer = io.BytesIO()
    samples = tones(channels, rate_hz, seconds).T
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


def by_ffmpeg(folder: Path, container, codec, rate_hz=48000, channels=1, seconds=0.2) -> bytes:
    samples = tones(channels, rate_hz, seconds)
    return encode(folder / "made", samples, rate_hz, container, codec)
