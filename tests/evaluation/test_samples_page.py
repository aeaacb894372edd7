"""Answers as a page to read."""

from pal_plugin.evaluation.samples_page import PER_TASK, write_page


def test_a_page_shows_what_was_asked_and_answered(tmp_path):
    rows = [
        {
            "task": "qa",
            "question_type": "qa",
            "sample_id": "<b>.wav",
            "question": "What?",
            "answers": ["dog", "a dog"],
            "prediction": "A dog",
            "prediction_masked": "cat",
        },
        {"task": "classification", "sample_id": "c", "question": "Kind?", "reference": "low"}
        | {"prediction": "high"},
        {"task": "caption", "sample_id": "d", "question": "?", "prediction": None},
        {"free": 1},
    ]
    rows += [{**rows[0], "sample_id": f"n{i}"} for i in range(PER_TASK)]
    write_page(tmp_path / "page.html", rows, "run: val")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;.wav" in page
    assert "<b>" not in page
    assert '<td class="right">A dog</td><td class="masked">cat</td>' in page
    assert '<td class="wrong">high</td>' in page
    assert f"{PER_TASK} of {PER_TASK + 1} rows" in page
