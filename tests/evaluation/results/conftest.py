"""What the tests beside share."""

import json

import pytest

from pal_plugin.commands.main import main as pal
from pal_plugin.evaluation.summary import summarise

RIGHT = {"one": [1, 1, 1, 0, 1, 1, 0, 1], "two": [1, 0, 1, 0, 0, 1, 0, 1]}


MASKED = [0, 0, 1, 0, 1, 0, 0, 0]


def write(folder, rows, seed=0, masked=True, evaluation=None):
    (folder / "result").mkdir(parents=True)
    (folder / "result" / "val.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    entries = {"val": summarise(rows, masked=masked)}
    (folder / "metrics.json").write_text(json.dumps(entries))
    (folder / "config.yaml").write_text(
        f"model: {{model_type: lal}}\nrun: {{seed: {seed}, name: {folder.name}}}\n"
    )
    if evaluation is not None:
        (folder / "evaluation.json").write_text(json.dumps({"val": evaluation}))
    return folder


def answers(right, kinds=("count",)):
    return [
        {
            "id": f"{clip}#{kind}",
            "sample_id": str(clip),
            "task": "qa",
            "question_type": kind,
            "question": "?",
            "reference": "yes",
            "answers": ["yes"],
            "prediction": "yes" if good else "no",
            "prediction_masked": "yes" if MASKED[clip] else "no",
        }
        for clip, good in enumerate(right)
        for kind in kinds
    ]


@pytest.fixture
def runs(tmp_path):
    return [
        write(tmp_path / name, answers(right, ("count", "first")), seed)
        for seed, (name, right) in enumerate(RIGHT.items())
    ]


def table(capsys, *arguments):
    assert pal(["results", *map(str, arguments)]) == 0
    return capsys.readouterr().out
