"""What the tests beside share."""

import torch

from pal_plugin.datasets.collate import collate_clips
from pal_plugin.tasks.instruct import InstructTask

LABELS = ["rain", "dog", "bell"]


class Told:
    """Answers by clip: a text to generate and, by candidate, a likelihood. Masked, it says less."""

    def __init__(self, says=None, likes=None):
        self.says, self.likes, self.asked, self.generation = says or {}, likes or {}, [], []

    def generate(self, samples, **generation):
        self.generation.append(generation)
        self.asked += samples["text_input"]
        if "audio_mask" in samples:
            return ["nothing"] * len(samples["text_input"])
        said = [self.says.get(name, "nothing") for name in samples["sample_id"]]
        return [text(q) if callable(text) else text
                for text, q in zip(said, samples["text_input"], strict=True)]  # fmt: skip

    predict_answers = generate

    def predict_class(self, samples, candidates):
        rows = [
            [
                0.0 if "audio_mask" in samples else float(self.likes[name].get(c, -9))
                for c in candidates
            ]
            for name in samples["sample_id"]
        ]
        scores = torch.tensor(rows)
        return {"predictions": [candidates[i] for i in scores.argmax(1)], "scores": scores}

    def __call__(self, samples):
        masked = "audio_mask" in samples
        return {"per_row_loss": torch.full((len(samples["text_input"]),), 2.0 if masked else 1.0)}


def batch(*items):
    """One clip per item, named a, b, c, ..."""
    clips = [
        {"audio": torch.zeros(1), "sample_id": "abcdefghij"[i], "items": [item]}
        for i, item in enumerate(items)
    ]
    return collate_clips(clips, torch.stack)


def item(task, answer, **more):
    return {"task": task, "question": f"{task}?", "answer": answer, **more}


def evaluate(model, samples, **settings):
    task = InstructTask(select_by=None, **settings)
    task.before_evaluation(model=model, dataset=None)
    rows = task.valid_step(model, samples)
    entries = task.after_evaluation(rows, "val")
    return task, rows, entries


def tagged(*answers):
    return batch(
        *(item("tagging", "; ".join(a), answers=list(a), candidates=LABELS) for a in answers)
    )
