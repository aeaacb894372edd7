"""Tables: what is not well formed is told with its line."""

import pytest

from pal_plugin.corpora.tables import first_line, parsed, read_csv, read_rows, read_text
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
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read("mmau", {"m.json": "[{"})


GOOD = "audio,caption\na.wav,\u72d7\u5728\u53eb\nb.wav,gr\u00f6\u00dfer\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_table_may_be_in_any_form_of_unicode_that_says_so(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(GOOD.encode(encoding))
    assert [row["caption"] for row in read_csv(path, ("audio",))] == [
        "\u72d7\u5728\u53eb",
        "gr\u00f6\u00dfer",
    ]
    assert first_line(path) == "audio,caption"


@pytest.mark.parametrize(
    "row",
    [
        b"c.wav,caf\xe9\n",
        "c.wav,A dog\u2019s bark\n".encode("cp1252"),
        "c.wav,\u72d7\n".encode("gbk"),
    ],
)
def test_a_byte_that_is_not_utf8_is_kept_and_the_other_rows_are_as_they_are(tmp_path, row):
    path = tmp_path / "t.csv"
    path.write_bytes(GOOD.encode() + row)
    first, second, third = (row["caption"] for row in read_csv(path, ("audio",)))
    assert (first, second) == ("\u72d7\u5728\u53eb", "gr\u00f6\u00dfer")
    assert third.encode("utf-8", "surrogateescape") in row


def test_lines_of_a_known_encoding_are_read_in_it_beside_those_in_utf8(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(GOOD.encode() + "c.wav,A dog\u2019s caf\u00e9\n".encode("cp1252"))
    assert read_text(path, "cp1252") == GOOD + "c.wav,A dog\u2019s caf\u00e9\n"


@pytest.mark.parametrize("data", [GOOD.encode("utf-16-le"), b"PAR1\x15\x00", b"PK\x03\x04\x14\x00"])
def test_what_is_no_text_is_told(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"t\.csv is not UTF-8 text.*save it as UTF-8"):
        read_csv(path, ("audio",))


def test_a_mark_of_another_encoding_that_does_not_hold_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("a".encode("utf-16") + b"\x00")
    with pytest.raises(ConfigError, match="has a utf-16 byte order mark but is not"):
        read_text(path)


def test_a_column_that_is_there_twice_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("audio,caption, caption,caption\na.wav,one,two,three\n")
    with pytest.raises(ConfigError, match=r"t\.csv, line 1: column 'caption' occurs 3 times"):
        read_csv(path, ("audio",))
    path.write_text("audio,label,,\na.wav,dog,,\n")  # columns without a name are none
    assert read_csv(path, ("audio",))[0]["label"] == "dog"


def test_a_key_that_is_there_twice_is_told_with_its_line(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(ConfigError, match=r"t\.jsonl, line 2, .*key 'a' occurs 2 times"):
        read_rows(path, ())
    with pytest.raises(ConfigError, match="x is not valid JSON"):
        parsed("x", "[" * 100_000)
    with pytest.raises(ConfigError, match=r"Extra data.*name a file of JSON lines \.jsonl"):
        parsed("x", "{}\n{}")


@pytest.mark.parametrize("name", ["t.JSONL", "t.ndjson", "t.Jsonl"])
def test_endings_in_upper_case_are_the_same(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert [(row["a"], row.where) for row in read_rows(path, ("a",))] == [
        (1, f"{name}, line 1"),
        (2, f"{name}, line 3"),
    ]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.csv", "audio;label"),
        ("a.csv", "audio\tlabel"),
        ("a.tsv", "audio,label"),
        ("a.csv", "sep=;"),
    ],
)
def test_columns_that_are_separated_otherwise_are_told(tmp_path, name, header):
    (tmp_path / name).write_text(f"{header}\n")
    with pytest.raises(ConfigError, match=f"{name}, line 1: expected columns separated by"):
        read_csv(tmp_path / name, (), delimiter="\t" if name.endswith("tsv") else ",")
