"""A user's own tables: what is asked, facts of rows, captions of one clip, rows that are bad."""

import json

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.corpora.shards.convert import convert
from pal_plugin.utils.errors import ConfigError

from ..conftest import clip_bytes


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_own_csv_and_json_lines_say_what_is_asked(read):
    csv = (
        "audio,label,caption,question,answer,choices,licence\n"
        "a.wav,dog,,,,,CC0\na.wav,,A dog barks,,,,\nb.wav,,,Who?,Dog,Man|Dog,\n"
    )
    a, b = read("own", {"o.csv": csv}).records
    assert [item["task"] for item in a.items] == ["classification", "caption"]
    assert a.facts == {"licence": "CC0"}
    assert b.items[0]["candidates"] == ["Man", "Dog"]
    a, b = read(
        "own",
        {
            "o.jsonl": lines(
                {"audio": "a.wav", "captions": ["x\u2028y", "z"]},
                {"audio": "b.wav", "items": [{"task": "qa", "question": "q", "answer": "a"}]},
            )
        },
    ).records
    assert a.items[0]["answers"] == ["x\u2028y", "z"]
    assert b.items[0]["question_type"] == "qa"
    with pytest.raises(ConfigError, match=r"line 2: no task.*Did you mean 'label'"):
        read("own", {"o.csv": "audio,lable\na.wav,dog\n"})
    with pytest.raises(ConfigError, match="name in one of the columns audio"):
        read("own", {"o.csv": "sound,label\na.wav,dog\n"})


ROWS = (
    "audio,label,caption,fold,annotator\n"
    "a.wav,dog,,1,x\na.wav,,A dog,1,x\na.wav,,A bark,1,y\na.wav,,Rain,2,y\na.wav,,Wind,,y\n"
)


def test_where_selects_rows_of_one_clip(read):
    (record,) = read("own", {"o.csv": ROWS}, where={"fold": ["1"]}).records
    label, caption = record.items
    assert (label["answer"], label["facts"]) == ("dog", {"fold": "1", "annotator": "x"})
    assert caption["answers"] == ["A dog", "A bark"]
    (record,) = read("own", {"o.csv": ROWS}, where={"fold": ["2"]}).records
    assert [item["answer"] for item in record.items] == ["Rain"]
    (record,) = read("own", {"o.csv": ROWS}, where={"annotator": ["x"]}).records
    assert [item["answer"] for item in record.items] == ["dog", "A dog"]


def test_captions_in_several_rows_are_references_of_one_item(read):
    (record,) = read("own", {"o.csv": ROWS}).records
    (caption,) = [item for item in record.items if item["task"] == "caption"]
    assert caption["answers"] == ["A dog", "A bark", "Rain", "Wind"]
    assert caption["answer"] == "A dog"
    assert "facts" not in caption  # the rows agree on none
    csv = "audio,caption,question,fold\na.wav,x,,1\na.wav,y,In one word?,1\na.wav,z,,1\n"
    (record,) = read("own", {"o.csv": csv}).records
    assert [item["answers"] for item in record.items] == [["x", "z"], ["y"]]
    assert record.facts == record.items[0]["facts"] == {"fold": "1"}


def test_licences_of_rows_are_all_named(read):
    csv = "audio,label,licence\na.wav,x,CC0\na.wav,y,\na.wav,z,CC BY\n"
    (record,) = read("own", {"o.csv": csv}).records
    assert record.facts["licence"] == "CC0; CC BY"


def test_other_columns_for_the_file_and_ids_are_kept(read):
    rows = {"audio": "a.wav", "path": "far/away", "id": 7, "label": 3}
    (record,) = read("own", {"o.jsonl": lines(rows)}).records
    assert (record.id, record.items[0]["id"], record.items[0]["answer"]) == ("7", "7", "3")
    assert record.facts == {"path": "far/away"}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"caption": 5}, "expected text as caption, got 5 (int)"),
        ({"caption": "  "}, "expected text as caption, got '  '"),
        ({"captions": "one"}, "expected a list as captions, got 'one'"),
        ({"captions": ["x", ""]}, "expected text as caption, got ''"),
        ({"caption": "\ud83d"}, "got an unpaired surrogate"),
        ({"label": ["a", "b"]}, "expected text as label, got ['a', 'b']"),
        ({"label": float("nan")}, "expected text as label, got nan"),
        ({"transcript": 12}, "expected text as answer, got 12 (int)"),
        ({"labels": "a|b"}, "expected a list as labels"),
        ({"question": "Who?", "answer": "x", "choices": "x|y"}, "expected a list of choices"),
        ({"question": "Who?", "answer": "z", "choices": ["x", "y"]}, "'z' is not among the"),
        ({"question": 3, "answer": "z"}, "expected text as question, got 3 (int)"),
        ({"answer": "z"}, "row has an answer but no question"),
        ({"items": [{"task": "qa", "question": "q"}]}, "item 0 has no answer"),
        ({"items": [{"task": "captoin", "question": "q", "answer": "a"}]}, "'caption'?"),
        ({"items": ["x"]}, "item 0 is 'x', expected an object"),
        ({}, "no task"),
        ({"question": "Q?", "answer": "x", "choices": ["x", None]}, "text as choice 2, got None"),
        ({"question": "Q?", "answer": "x", "choices": ["x", ""]}, "text as choice 2, got ''"),
        ({"question": "Q?", "answer": "x", "choices": ["x", float("nan")]}, "choice 2, got nan"),
        ({"question": "Q?", "answer": "x", "choices": ["x", ["y"]]}, "text as choice 2, got ['y']"),
        ({"labels": ["x", None]}, "expected text as labels, got None"),
        ({"captions": ["x", ["y"]]}, "expected text as caption, got ['y'] (list)"),
        ({"label": "\u200b"}, "expected text as answer"),
        ({"caption": "a\0b"}, "got a NUL character"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed_with_its_line(read, bad, told):
    rows = ({"audio": "a.wav", "label": "x"}, {"audio": "b.wav", **bad})
    corpus = read("own", {"o.jsonl": lines(*rows)})
    assert [record.id for record in corpus.records] == ["a"]
    (problem,) = corpus.problems
    assert problem.startswith("o.jsonl, line 2: ")
    assert told in problem


def test_shards_of_rows_hold_what_where_left(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").write_bytes(clip_bytes())
    (tmp_path / "o.csv").write_text(ROWS)
    options = {"where": {"fold": ["1"]}, "workers": 1, "progress": False}
    index = convert("own", tmp_path / "audio", [tmp_path / "o.csv"], tmp_path / "out", **options)
    assert index["tasks"] == {"classification": 1, "caption": 1}


def test_one_label_in_several_forms_of_unicode_is_one(read):
    forms = ["caf\u00e9", "cafe\u0301", "caf\u00e9\u200b", "\uff43af\u00e9", "caf\u00e9\u00a0"]
    rows = "".join(f"{n}.wav,{form}\n" for n, form in enumerate(forms))
    corpus = read("own", {"o.csv": f"audio,label\n{rows}"})
    assert corpus.labels == ["caf\u00e9"]
    assert {record.items[0]["answer"] for record in corpus.records} == {"caf\u00e9"}
    corpus = read("own", {"o.csv": "audio,label\na.wav,dog's\nb.wav,dog\u2019s\n"})
    assert "look the same; expected one of them" in corpus.problems[0]


def test_a_row_with_bytes_that_are_not_utf8_is_listed(tmp_path):
    (tmp_path / "t.csv").write_bytes("audio,caption\na.wav,\u72d7\n".encode() + b"b.wav,caf\xe9\n")
    corpus = read_corpus("own", [tmp_path / "t.csv"], AudioFolder(tmp_path))
    assert [record.items[0]["answer"] for record in corpus.records] == ["\u72d7"]
    (problem,) = corpus.problems
    assert problem.startswith(
        "t.csv, line 3: expected text as caption, got bytes that are not UTF-8"
    )
    assert "'caf\\xe9'" in problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("T.CSV", "audio,label\na.wav,x\n"),
        ("T.TSV", "audio\tlabel\na.wav\tx\n"),
        ("T.JSON", '[{"audio": "a.wav", "label": "x"}]'),
        ("T.JSONL", '{"audio": "a.wav", "label": "x"}\n'),
    ],
)
def test_endings_in_upper_case_are_the_same(read, name, text):
    (record,) = read("own", {name: text}).records
    assert (record.audio, record.items[0]["answer"]) == ("a.wav", "x")


def test_a_blank_choice_in_a_table_is_listed(read):
    csv = "audio,question,answer,choices\na.wav,Q?,dog,dog||cat\nb.wav,Q?,dog,dog|cat|\n"
    corpus = read("own", {"o.csv": csv})
    assert [record.items[0]["candidates"] for record in corpus.records] == [["dog", "cat"]]
    assert corpus.problems == ["o.csv, line 2: expected text as choice 2, got ''"]
