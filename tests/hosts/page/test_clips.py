"""Clips of the page: what it reads, and what it says of what it cannot read."""

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.errors import AudioError
from pal_plugin.clips import clip
from pal_plugin.hosts.page.clips import read_clip, shipped_clips


def test_a_file_becomes_a_clip(tmp_path):
    samples = np.linspace(-0.5, 0.5, 8000, dtype=np.float32)
    soundfile.write(tmp_path / "my take.wav", np.stack([samples, samples], 1), 16_000, "FLOAT")
    read = read_clip(tmp_path / "my take.wav")
    assert (read.name, read.rate_hz, read.seconds) == ("my take", 16_000, 0.5)
    np.testing.assert_array_equal(read.audio[0], samples)


def test_a_broken_file_is_a_sentence_with_its_name_alone(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF0000WAVEjunk")
    with pytest.raises(AudioError, match=r"^cannot decode broken\.wav: "):
        read_clip(tmp_path / "broken.wav")


def test_a_clip_that_is_too_long_is_refused():
    with pytest.raises(AudioError, match=r"dog\.ogg has 5 s; the page takes clips of up to 4 s"):
        read_clip(clip("dog"), most_s=4)


def test_the_clips_of_the_package_can_be_read():
    shown = dict(shipped_clips())
    assert len(shown) == 14
    assert read_clip(shown["crying baby"]).seconds == pytest.approx(5, abs=0.01)
