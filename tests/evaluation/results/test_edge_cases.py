"""One row, one class, nothing that can be read: from the answers to the table, for each task."""

import csv
import io
import json

import pytest
import torch

from pal_plugin.commands.main import main as pal
from pal_plugin.corpora.items import multiple_choice
from pal_plugin.datasets.collate import collate_clips
from pal_plugin.tasks.instruct import InstructTask


class Mute:
    """Says what it is told, the same for all, and prefers the first candidate."""

    def __init__(self, says=""):
        self.says = says

    def generate(self, samples, **generation):
        return [self.says] * len(samples["text_input"])

    predict_answers = generate

    def predict_class(self, samples, candidates):
        scores = torch.zeros(len(samples["text_input"]), len(candidates))
        return {"predictions": [candidates[0]] * len(scores), "scores": scores}

    def __call__(self, samples):
        return {"per_row_loss": torch.ones(len(samples["text_input"]))}


def item(task, answer, **more):
    return {"task": task, "question": f"{task}?", "answer": answer, **more}


CHOICES = multiple_choice("mmau", "Which?", ["dog", "cat"], "dog", "sound")
ONE = item("classification", "rain", candidates=["rain"])
TWO = item("classification", "dog", candidates=["rain", "dog"])
TAGS = item("classification", "rain", labels=["rain"], candidates=["rain", "dog"])
SCORED = {
    "caption": {"scores": True, "tokenizer": "plain", "metrics": ["bleu", "rouge_l", "cider"]}
}
BY_STRING = {"classification": {"by": "string"}}


@pytest.mark.parametrize(
    ("items", "says", "settings", "expected"),
    [
        ([ONE], "", {}, {"accuracy": 1.0, "macro_f1": 1.0, "micro_f1": 1.0, "chance": 1.0}),
        ([ONE] * 3, "", {}, {"accuracy": 1.0, "macro_f1": 1.0, "micro_f1": 1.0}),
        ([TWO], "", {}, {"accuracy": 0.0, "macro_f1": 0.0, "micro_f1": 0.0}),
        ([TWO] * 2, "", BY_STRING, {"accuracy": 0.0, "macro_f1": 0.0, "unmatched": 1.0}),
        ([TWO] * 2, "both rain and dog", BY_STRING, {"accuracy": 0.0, "unmatched": 1.0}),
        ([TAGS], "", {}, {"map": 1.0, "macro_f1": 1.0, "micro_f1": 1.0, "chance": 1.0}),
        ([TAGS] * 3, "", {}, {"map": 1.0}),
        ([CHOICES], "", {}, {"accuracy": 0.0, "unparsed": 1.0, "accuracy_ranked": 1.0}),
        ([CHOICES] * 3, "no idea", {"multiple_choice": {"shuffles": 3}},
         {"accuracy": 0.0, "accuracy_mmau_rule": 0.0, "unparsed": 1.0, "accuracy_sd": 0.0}),
        ([item("qa", "yes")], "", {}, {"accuracy": 0.0, "chance": 1.0}),
        ([item("transcript", "one two")], "", {}, {"wer": 1.0, "wer_raw": 1.0, "wer_whisper": 1.0}),
        ([item("transcript", "!")] * 2, "", {}, {"wer": None}),
        ([item("caption", "a dog")], "", {}, {"loss": 1.0}),
        ([item("caption", "a dog")], "",
         SCORED,
         {"loss": 1.0, "rouge_l": 0.0, "bleu_1": 0.0}),
        ([item("chat", "a dog")], "", {}, {}),
        ([item("reasoning", "a dog")], "", {}, {}),
    ],
)  # fmt: skip
def test_few_rows_and_no_answers(tmp_path, capsys, items, says, settings, expected):
    clips = [
        {"audio": torch.zeros(1), "sample_id": f"c{i}", "items": [one]}
        for i, one in enumerate(items)
    ]
    task = InstructTask(select_by=None, evaluation=settings)
    task.before_evaluation(None, None)
    rows = task.valid_step(Mute(says), collate_clips(clips, torch.stack))
    entries = task.after_evaluation(rows, "val")
    entries.pop("agg_metrics")
    (name,) = entries
    for figure, value in expected.items():
        assert entries[name][figure] == (value if value is None else pytest.approx(value))
    folder = tmp_path / "run"
    (folder / "result").mkdir(parents=True)
    task.write_files(rows, "val", folder / "result")
    (folder / "result" / "val.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "metrics.json").write_text(json.dumps({"val": entries}))
    told = {"figures": task.describe("val")}
    (folder / "evaluation.json").write_text(json.dumps({"val": told}))
    for form in ("--markdown", "--csv"):
        assert pal(["results", str(folder), form]) == 0
    text = capsys.readouterr().out
    table = list(csv.DictReader(io.StringIO(text[text.index("run,split") :])))
    assert "nan" not in text.lower().replace(" nan or infinite", "")
    for line in table:
        if line["low"]:
            assert float(line["low"]) <= float(line["value"]) <= float(line["high"])
