"""What counts as audio by its name."""

import re
from pathlib import Path

import pytest

from pal_plugin.audio.extensions import AUDIO_EXTENSIONS, is_audio


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


def test_the_table_of_formats_has_every_ending():
    page = Path(__file__).parents[2] / "docs" / "formats.md"
    rows = [line.split("|") for line in page.read_text("utf-8").splitlines() if line[:2] == "| "]
    listed = [ending for row in rows[1:] for ending in re.findall(r"`(\w+)`", row[2])]
    assert sorted(listed) == sorted(AUDIO_EXTENSIONS)
