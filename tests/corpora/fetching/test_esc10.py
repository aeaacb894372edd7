"""ESC-10 as its recipes have it."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from pal_plugin.audio.decoding import AudioError
from pal_plugin.corpora.fetching.archive import Clip, read_table
from pal_plugin.corpora.fetching.esc10 import Esc10

from .conftest import ESC10_CLIPS

SHARED = Path(__file__).parents[4] / "shared" / "data" / "audio" / "esc10_f1234"


def read(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("001 - Dog bark/5-17-A.ogg", "5-17-A-0.ogg"),
        ("008 - Chainsaw/5-170000-F.ogg", "5-170000-F-41.ogg"),
        ("001 - Dog bark/1-17-A.ogg", None),  # known folds are in the table or not taken
        ("011 - Cat/5-17-A.ogg", None),
        ("001 - Dog bark/5-17-A.wav", None),
        ("../001 - Dog bark/5-17-A.ogg", None),
        ("001 - Dog bark/5-../A.ogg", None),
    ],
)
def test_fold_5_by_its_names_only(path, name):
    assert Esc10().other(path) == (Clip(path, name, None) if name else None)


def test_recipes_do_not_get_fold_5_and_authors_are_named(small, tmp_path):
    source = Esc10()
    clips = source.known() + [c for c in map(source.other, ESC10_CLIPS) if c is not None]
    tables = source.tables(clips, tmp_path)
    known, last = read(tables["esc10_f1234.csv"]), read(tables["esc10_f5.csv"])
    assert [row["filename"] for row in known] == ["1-100-A-0.ogg", "4-2000-B-1.ogg"]
    assert known[1] == {
        "filename": "4-2000-B-1.ogg",
        "fold": "4",
        "target": "1",
        "category": "rooster",
        "esc10": "True",
        "src_file": "2000",
        "take": "B",
    }
    assert [row["category"] for row in last] == ["rain", "crackling_fire"]
    credits_ = {row["filename"]: row for row in read(tables["attribution.csv"])}
    assert len(credits_) == 4
    assert credits_["1-100-A-0.ogg"]["author"] == "somebody"
    assert credits_["1-100-A-0.ogg"]["licence_url"].endswith("/publicdomain/zero/1.0/")
    assert credits_["5-300-A-10.ogg"]["licence"] == ""
    assert credits_["5-300-A-10.ogg"]["url"] == "https://freesound.org/s/300/"


def test_a_damaged_clip_has_no_hash():
    with pytest.raises(AudioError):
        Esc10().digest(next(iter(ESC10_CLIPS.values()))[:700])


def test_ten_kinds_and_a_licence_each():
    rows = read_table("esc10.csv")
    assert set(Counter(row["path"].partition("/")[0] for row in rows).values()) == {32}
    assert {row["licence"] for row in rows} == {"CC0", "CC-BY", "CC-Sampling+"}
    assert all(row["author"] and row["title"] and row["url"] for row in rows)


@pytest.mark.shared
def test_the_table_that_recipes_read_comes_out_byte_for_byte(tmp_path):
    if not SHARED.is_dir():
        pytest.skip("needs the development data in ../shared")
    source = Esc10()
    table = source.tables(source.known(), tmp_path)["esc10_f1234.csv"]
    assert table == (SHARED / "esc10_f1234.csv").read_text("utf-8")
    for clip in source.known()[::40]:
        assert source.digest((SHARED / clip.name).read_bytes()) == clip.sha256
