"""Tables: what is not well formed is told with its line."""

import pytest

from pal_plugin.corpora.tables import read_csv
from pal_plugin.utils.errors import ConfigError


def test_a_quote_that_nothing_closes_is_told(tmp_path):
    """It would take the rows behind it into its cell."""
    path = tmp_path / "own.csv"
    path.write_text('audio,caption\na.wav,"A dog barks\nb.wav,rain falls\n')
    with pytest.raises(ConfigError, match=r"own\.csv, line 3"):
        read_csv(path, ("audio",))


def test_blanks_around_a_cell_make_no_new_label(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("audio,label\na.wav ,dog \n")
    assert dict(read_csv(path, ("audio",))[0]) == {"audio": "a.wav", "label": "dog"}


def test_a_broken_row_is_named_with_its_line(read):
    with pytest.raises(ConfigError, match=r"e\.csv, line 3: expected 3 fields"):
        read("esc50", {"e.csv": "filename,fold,category\na.wav,1,dog\nb.wav,1\n"})
    with pytest.raises(ConfigError, match="no column 'category'"):
        read("esc50", {"e.csv": "filename,fold,categories\na.wav,1,dog\n"})
    with pytest.raises(ConfigError, match="is not JSON"):
        read("mmau", {"m.json": "[{"})
