"""OpenAQA, GAMA, CompA-R-test and Clotho-AQA on synthetic files."""

import pytest

from pal_plugin.utils.errors import ConfigError

from ..conftest import found

HEADER = "file_name,QuestionText,answer,confidence\n"


def rows(file, question, *given):
    return "".join(f'"{file}","{question}",{answer},yes\n' for answer in given)


def test_synthetic_questions_hold_the_answers_of_three_people(read, tmp_path):
    text = (
        HEADER
        + rows("a b, c.wav", "Is it raining?", "yes", "Yes", "no")
        + rows("a b, c.wav", "What rings?", "bell", "phone", "bell")
        + rows("d.wav", "What barks?", "dog", "puppy", "wolf")
        + rows("d.wav", "Is it loud?", "no", "no", "no")
    )
    corpus = read("clotho_aqa", {"clotho_aqa_val.csv": text}, ["a b, c.wav"])
    assert found(corpus, tmp_path) == ["a b, c.wav", None]
    rain, bell, barks, loud = (item for record in corpus.records for item in record.items)
    assert (rain["task"], rain["question"]) == ("qa", "Is it raining?")
    assert (rain["question_type"], rain["answer"], rain["answers"]) == ("yes_no", "yes", ["yes"])
    assert rain["facts"] == {
        "agreement": "majority",
        "given": ["yes", "yes", "no"],
        "confidence": ["yes"] * 3,
    }
    assert (bell["question_type"], bell["answers"]) == ("single_word", ["bell", "phone"])
    assert barks["answers"] == ["dog", "puppy", "wolf"]
    assert [i["facts"]["agreement"] for i in (barks, loud)] == ["none", "unanimous"]
    where = {"agreement": ["unanimous"]}
    (record,) = read("clotho_aqa", {"clotho_aqa_val.csv": text}, where=where).records
    assert [item["question"] for item in record.items] == ["Is it loud?"]


def test_synthetic_rows_that_cannot_be_used_are_named(read):
    text = (
        HEADER
        + rows("a.wav", "Is it?", "yes", "no")
        + rows("a.wav", "What?", "bell", "")
        + rows("a.wav", "", "bell")
    )
    corpus = read("clotho_aqa", {"clotho_aqa_test.csv": text})
    assert [item["answers"] for item in corpus.records[0].items] == [["bell"]]
    assert corpus.problems == [
        "clotho_aqa_test.csv, line 5: expected text as answer, got ''",
        "clotho_aqa_test.csv, line 6: expected text as QuestionText, got ''",
        "clotho_aqa_test.csv, line 2: annotators are tied between yes and no on 'Is it?'",
    ]
    with pytest.raises(ConfigError, match="no column 'QuestionText'"):
        read("clotho_aqa", {"x.csv": "file_name,question,answer,confidence\na.wav,q,a,yes\n"})


def test_synthetic_openaqa_groups_the_questions_of_a_clip(read, tmp_path):
    row = {
        "instruction": "What rings?",
        "input": "",
        "audio_id": "/sls/as/x1.flac",
        "dataset": "as_20k",
        "task": "open-ended question",
        "output": "A bell.",
    }
    corpus = read(
        "openaqa",
        {
            "a.json": [
                row,
                {**row, "instruction": "Describe it.", "task": "caption"},
                {**row, "audio_id": "/sls/as/x2.flac", "input": "Answer in one word."},
            ]
        },
        audio=["x1.wav"],
    )
    first, second = corpus.records
    assert [i["task"] for i in first.items] == ["qa", "caption"]
    assert first.items[0]["question_type"] == "open-ended question"
    assert second.items[0]["question"] == "What rings?\nAnswer in one word."
    assert found(corpus, tmp_path) == ["x1.wav", None]


def test_synthetic_gama_has_no_input(read):
    row = {
        "audio_id": "a.wav",
        "instruction": "Why?",
        "dataset": "compa-r",
        "task": "reasoning",
        "output": "Because.",
    }
    (record,) = read("gama", {"g.json": [row]}).records
    assert record.items[0]["answer"] == "Because."
    with pytest.raises(ConfigError, match=r"g\.json: no entry has 'output'"):
        read("gama", {"g.json": [{k: v for k, v in row.items() if k != "output"}]})


def test_synthetic_compar_test_keeps_what_a_judge_reads(read):
    row = {
        "audio_id": "a.wav",
        "input": "",
        "dataset": "d",
        "task": "t",
        "caption": "a dog",
        "timestamp_events": "(dog 0-1)",
        "instruction_output": [
            {"instruction": "Q1", "output": "A1"},
            {"instruction": "Q2", "output": "A2"},
        ],
    }
    (record,) = read("compar_test", {"c.json": [row]}).records
    assert [(i["task"], i["question"], i["answer"]) for i in record.items] == [
        ("reasoning", "Q1", "A1"),
        ("reasoning", "Q2", "A2"),
    ]
    assert record.items[1]["facts"] == {"caption": "a dog", "timestamp_events": "(dog 0-1)"}


def test_an_input_that_is_no_text_is_listed(read):
    row = {"instruction": "q", "audio_id": "a.wav", "dataset": "d", "task": "t", "output": "o"}
    corpus = read("openaqa", {"o.json": [{**row, "input": ""}, {**row, "input": float("nan")}]})
    assert len(corpus.records[0].items) == 1
    assert corpus.problems == ["o.json, entry 2: expected text as input, got nan (float)"]


def test_one_answer_in_two_forms_of_unicode_is_one(read):
    text = HEADER + rows("a.wav", "Where?", "caf\u00e9", "cafe\u0301", "bar")
    (record,) = read("clotho_aqa", {"clotho_aqa_train.csv": text}).records
    assert record.items[0]["answers"] == ["caf\u00e9", "bar"]
