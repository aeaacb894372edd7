"""OpenAQA, GAMA and CompA-R-test on synthetic files."""

import pytest

from pal_plugin.utils.errors import ConfigError

from ..conftest import found


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
