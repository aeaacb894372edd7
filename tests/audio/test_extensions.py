"""What counts as audio by its name."""

import pytest

from pal_plugin.audio.extensions import is_audio


@pytest.mark.parametrize(
    "name", ["rain.wav", "RAIN.FLAC", "a.b/rain.take.2.oga", "film.mkv", "memo.M4B", "a.wv"]
)
def test_audio_is_known_in_any_case_and_behind_other_dots(name):
    assert is_audio(name)


@pytest.mark.parametrize(
    "name", ["rain.csv", "rain", "rain.wav.txt", "a.wav/b", ".wav", "wav", "._a.wav", "x/._a.wav"]
)
def test_other_files_are_not(name):
    assert not is_audio(name)
