"""The clips that come with the package: whole, small, and free to be passed on."""

import csv
from pathlib import Path

import pytest

from pal_plugin.audio.decoding import decode
from pal_plugin.clips import FOLDER, clip, clips
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import file_sha256

SPLITS = Path(__file__).parents[2] / "projects" / "pal" / "mini" / "splits.csv"
FREE = {"CC0-1.0", "public domain"}


@pytest.mark.parametrize("entry", clips(), ids=lambda entry: entry.name)
def test_a_clip_is_whole_and_says_whose_it_is(entry):
    samples, rate_hz, _ = decode(entry.path)
    assert 1 <= len(samples) / rate_hz <= 10
    assert abs(samples).max() > 0.05
    assert file_sha256(entry.path) == entry.sha256
    assert entry.licence in FREE
    for text in (entry.label, entry.question, entry.title, entry.author, entry.changed):
        assert text.strip()
    for address in (entry.licence_url, entry.url):
        assert address.startswith(("http://", "https://"))


def test_they_are_small_and_nothing_is_there_without_a_row():
    files = {path for path in FOLDER.iterdir() if path.suffix in (".ogg", ".flac")}
    assert files == {entry.path for entry in clips()}
    assert len({entry.label for entry in clips()}) == len(files) >= 12
    assert sum(path.stat().st_size for path in [*files, FOLDER / "clips.csv"]) <= 1_000_000


def test_no_recipe_trains_on_them():
    with SPLITS.open(newline="", encoding="utf-8") as file:
        split = {Path(row["filename"]).stem: row["split"] for row in csv.DictReader(file)}
    originals = [
        e.changed.rpartition("(")[2].partition(".")[0] for e in clips() if "(" in e.changed
    ]
    assert len(originals) == 12
    assert {split[name] for name in originals} == {"val"}


def test_a_clip_by_its_name():
    assert clip("dog") == FOLDER / "dog.ogg"
    with pytest.raises(ConfigError, match=r"no clip 'doge'.* Did you mean 'dog'"):
        clip("doge")
