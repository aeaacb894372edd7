"""`pal results`: which runs and figures it takes, and where the table goes."""

import json

import pytest

from pal_plugin.commands.main import main
from pal_plugin.evaluation.summary import summarise


@pytest.fixture
def run(tmp_path):
    rows = [
        {
            "id": str(clip),
            "sample_id": str(clip),
            "task": "qa",
            "question_type": "count",
            "question": "?",
            "reference": "yes",
            "answers": ["yes"],
            "prediction": "yes" if clip else "no",
        }
        for clip in range(4)
    ]
    folder = tmp_path / "run"
    (folder / "result").mkdir(parents=True)
    (folder / "result" / "val.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "metrics.json").write_text(json.dumps({"val": summarise(rows, masked=False)}))
    (folder / "config.yaml").write_text("run: {seed: 0, name: toy}")
    return folder


def test_the_table_is_printed_or_written(run, capsys):
    assert main(["results", str(run), "--draws", "50"]) == 0
    assert "| run | val | qa | accuracy | 0.750 | [" in capsys.readouterr().out
    out = run.parent / "new" / "table.csv"
    assert main(["results", str(run), "--draws", "50", "--csv", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text().startswith("run,split,task,figure,value")


def test_a_page_is_written_beside_or_in_place_of_the_table(run, capsys):
    page = run.parent / "new" / "page.html"
    assert main(["results", str(run), "--draws", "50", "--html", str(page), "--worst"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "the most wrong of each task" in page.read_text()
    assert main(["results", str(run), "--draws", "50", "--html", str(page), "--markdown"]) == 0
    assert "| run | val | qa |" in capsys.readouterr().out
    assert "right and wrong ones" in page.read_text()


def test_mistakes_say_what_there_is(run, capsys):
    for argv, told in (
        ([run, "--figures", "wer"], "no run has wer; available: accuracy"),
        ([run.parent / "gone"], "gone"),
        ([run, "--worst"], "add --html FILE"),
    ):
        assert main(["results", *map(str, argv)]) == 2
        assert told in capsys.readouterr().err
