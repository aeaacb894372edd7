"""Records: ids that are unique, and what `where` selects."""

import pytest

from pal_plugin.utils.errors import ConfigError


def test_two_files_of_one_name_keep_apart(read):
    text = "filename,fold,category\na.wav,1,dog\na.ogg,2,cat\n"
    corpus = read("esc50", {"e.csv": text})
    assert [record.id for record in corpus.records] == ["a.wav", "a.ogg"]
    with pytest.raises(ConfigError, match="two clips have the id 'a.wav'"):
        read("esc50", {"e.csv": text + "a.wav,1,dog\n"})


def test_where_selects_and_explains(read):
    files = {"e.csv": "filename,fold,category\na.wav,1,dog\nb.wav,2,cat\n"}
    (record,) = read("esc50", files, where={"fold": ["2", "3"]}).records
    assert record.audio == "b.wav"
    with pytest.raises(ConfigError, match="Did you mean 'fold'"):
        read("esc50", files, where={"folds": ["2"]})
    with pytest.raises(ConfigError, match="values found: fold: 1, 2"):
        read("esc50", files, where={"fold": ["7"]})
