"""What a judge is given, and what is read from it: one number per aspect, or nothing."""

import json

import pytest

from pal_plugin.evaluation.metrics.judge import FORMS, judge_lines, read_judged, read_scores
from pal_plugin.utils.errors import ConfigError

ROW = {
    "id": "clip#0",
    "question": "Why {answer}?",
    "reference": "a storm",
    "prediction": "wind",
    "prediction_masked": "music",
    "facts": {"caption": "thunder in the distance"},
}


def test_the_judge_gets_question_reference_answer_and_caption():
    (line,) = judge_lines([ROW], FORMS["reasoning"])
    text = line["messages"][0]["content"]
    assert line["id"] == "clip#0"
    assert "Why {answer}?" in text  # braces of the question are not filled
    for part in ("a storm", "wind", "thunder in the distance"):
        assert part in text
    (masked,) = judge_lines([ROW], FORMS["reasoning"], "_masked")
    assert masked["id"] == "clip#0_masked"
    assert "music" in masked["messages"][0]["content"]


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("First: 7\nSecond: 8.5", {"first": 7.0, "second": 8.5}),
        ("**First**: 7, **Second**: 8", {"first": 7.0, "second": 8.0}),
        ("First: 7", None),
        ("First: 7\nSecond: 11", None),
        ("First: 7\nSecond: 8\nSecond: 9", None),
        ("First: 1-10\nSecond: 8", None),
        ("", None),
    ],
)
def test_scores_are_read_or_not(text, scores):
    assert read_scores(text, FORMS["chat"]) == scores


def test_a_judges_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "judged.jsonl"
    lines = [
        {"id": "a", "response": "First: 5\nSecond: 6"},
        {"id": "b", "response": {"first": 5, "second": 6}},
        {"id": "c", "response": "I cannot say"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {"first": 5.0, "second": 6.0}
    assert read_judged(path, FORMS["chat"]) == {"a": scores, "b": scores, "c": None}
    path.write_text(path.read_text() + json.dumps(lines[0]) + "\n")
    with pytest.raises(ConfigError, match="line 4.*is judged twice"):
        read_judged(path, FORMS["chat"])
    path.write_text('{"id": "a"}\n')
    with pytest.raises(ConfigError, match="line 1.*response"):
        read_judged(path, FORMS["chat"])
    with pytest.raises(ConfigError, match="no judge's output"):
        read_judged(tmp_path / "gone", FORMS["chat"])
