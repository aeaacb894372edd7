"""A file that is replaced is whole or as it was."""

import pytest

from pal_plugin.utils.files import replace_text, replacing


def test_a_block_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]
    assert path.read_bytes() == b"old"


def test_the_new_content_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("x")
        assert not path.exists()
    replace_text(path, "y")
    assert path.read_text() == "y"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
