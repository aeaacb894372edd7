"""Addresses and tables of sources."""

import re

import pytest

from pal_plugin.corpora.fetching.archive import csv_text, read_table
from pal_plugin.corpora.fetching.fetch import SOURCES


@pytest.mark.parametrize(("name", "clips"), [("esc10", 320), ("fsdd", 2000)])
def test_a_hash_for_each_clip_that_recipes_know(name, clips):
    known = SOURCES[name].known()
    assert len({clip.path for clip in known}) == len({clip.name for clip in known}) == clips
    assert all(re.fullmatch("[0-9a-f]{64}", clip.sha256) for clip in known)
    assert all(re.fullmatch(r"[\w-]+\.(ogg|flac)", clip.name) for clip in known)
    assert all(SOURCES[name].other(clip.path) is None for clip in known)


def test_the_address_is_the_one_that_github_documents():
    commit = "553c8f1743b9dba6b282e1323c3ca8fa76923448"
    expected = f"https://github.com/karolpiczak/ESC-10/archive/{commit}.zip"
    assert SOURCES["esc10"].url("https://github.com/") == expected
    assert SOURCES["esc10"].top == f"ESC-10-{commit}"


def test_tables_are_written_as_they_are_read():
    rows = read_table("fsdd.csv")
    assert csv_text(("clip", "sha256"), rows[:2]).splitlines()[0] == "clip,sha256"
    assert csv_text(("a",), [{"a": 'x, "y"'}]) == 'a\n"x, ""y"""\n'
