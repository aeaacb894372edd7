"""Readers on files made from the field lists of the datasets; all of them synthetic."""

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import READERS, read_corpus
from pal_plugin.utils.errors import ConfigError


def test_unknown_datasets_and_missing_files_are_named(read, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'clotho'"):
        read("cloth", {})
    with pytest.raises(ConfigError, match="mmau needs annotation files: mmau-test-mini.json"):
        read("mmau", {})
    with pytest.raises(ConfigError, match="no annotation file at .*gone.csv"):
        read_corpus("esc50", [tmp_path / "gone.csv"], AudioFolder(tmp_path))


def test_every_reader_says_what_it_takes():
    assert len(READERS) == 19
    assert all(entry.about and entry.annotations for entry in READERS.values())
