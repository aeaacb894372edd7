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
