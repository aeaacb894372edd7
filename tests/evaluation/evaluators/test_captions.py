"""Captions: scored on request, else a few for reading, the same however clips are dealt out."""

import json

import pytest
import torch

from pal_plugin.datasets.collate import collate_clips
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

from .conftest import Told, batch, evaluate, item


def test_captions_are_scored_against_all_references_on_request():
    says = {"a": "a dog barks loudly", "b": "it rains", "c": "a bell"}
    texts = [["a dog barks loudly", "x"], ["the rain is falling"], ["a bell"]]
    samples = batch(*(item("caption", t[0], answers=t) for t in texts))
    settings = {"caption": {"scores": True, "tokenizer": "plain", "metrics": ["rouge_l", "bleu"]}}
    task, rows, entries = evaluate(Told(says), samples, evaluation=settings, caption_examples=1)
    entry = entries["caption"]
    assert (entry["loss"], entry["loss_masked_audio"]) == (1.0, 2.0)
    assert [row["figures"]["rouge_l"] for row in rows] == pytest.approx([1.0, 0.0, 1.0])
    assert entry["rouge_l"] == pytest.approx(2 / 3)
    assert entry["rouge_l_masked_audio"] == 0.0
    assert 0 < entry["bleu_1"] < 1
    how = task.describe("val")["caption"]["how"]
    assert "tokenizer: plain" in how["bleu_1"]
    assert "pycocoevalcap" in how["bleu_1"]


def test_without_scores_a_few_captions_are_generated_the_same_with_audio_and_without():
    says = dict.fromkeys("abc", "text")
    samples = batch(*(item("caption", "x") for _ in range(3)))
    model = Told(says)
    task, rows, _ = evaluate(model, samples, caption_examples=2)
    pairs = [(row["prediction"], row["prediction_masked"]) for row in rows]
    assert sorted(pairs, key=str) == [("text", "nothing")] * 2 + [(None, None)]
    assert len(model.asked) == 2 + 1  # none in vain; with the audio masked they are one question
    assert "scores=true" in task.describe("val")["caption"]["missing"]["captioning scores"]
    _, rows, _ = evaluate(Told(says), samples, caption_examples=0)
    assert {row["prediction"] for row in rows} == {None}


def captioned(number):
    """A batch of two clips out of 40, each with a caption's question."""
    names = [f"clip {2 * number}", f"clip {2 * number + 1}"]
    clips = [
        {"audio": torch.zeros(1), "sample_id": name, "items": [item("caption", "x")]}
        for name in names
    ]
    return collate_clips(clips, torch.stack)


def shown(rows, masked=""):
    return {row["id"] for row in rows if row[f"prediction{masked}"] is not None}


def test_the_captions_for_reading_do_not_depend_on_who_asks_and_in_which_order():
    says = {f"clip {number}": "text" for number in range(40)}

    def asked(*parts, interrupted=()):
        """What processes answer, each with its own batches; gathered by the first."""
        rows, model = [], Told(says)
        for part in parts:
            task = InstructTask(select_by=None, caption_examples=3)
            task.before_evaluation(model=model, dataset=None)
            task.resume(list(interrupted))
            for number in part:
                rows += task.valid_step(model, captioned(number))
        return task, rows, model

    chosen = None
    numbers = list(range(20))
    for parts in ((numbers,), (numbers[::-1],), (numbers[::2], numbers[1::2]),
                  (numbers[:3], numbers[3:11], numbers[11:])):  # fmt: skip
        task, rows, model = asked(*parts)
        assert len(model.asked) / 2 <= 3 * 4 * len(parts)  # of 40, with audio and without
        task.after_evaluation(rows, "val")
        assert len(shown(rows)) == 3
        chosen = chosen or shown(rows)
        assert shown(rows) == shown(rows, "_masked") == chosen
    # Gone on with behind an interruption, and by another number of processes.
    _, before, _ = asked(numbers[:8:2], numbers[1:8:2])
    task, after, _ = asked(numbers[8:], interrupted=before)
    task.after_evaluation([*before, *after], "val")
    assert shown([*before, *after]) == chosen


def test_a_loss_that_is_no_number_is_named_and_left_out(tmp_path):
    samples = batch(*(item("caption", answer) for answer in "xyz"))

    class Overflows(Told):
        def __call__(self, samples):
            masked = "audio_mask" in samples
            return {
                "per_row_loss": torch.tensor([1.0, float("nan"), float("inf") if masked else 3])
            }

    task, rows, entries = evaluate(Overflows(dict.fromkeys("abc", "text")), samples)
    entry = entries["caption"]
    assert (entry["loss"], entry["loss_masked_audio"]) == (2.0, 1.0)
    assert [row["loss"] for row in rows] == [1.0, None, 3.0]
    missing = task.describe("val")["caption"]["missing"]
    assert "(b#0)" in missing["loss of 1 captions"]
    assert "(b#0, c#0)" in missing["loss of 2 captions, audio masked"]
    # The rows are the same when they are read again, and have an interval.
    again = json.loads(json.dumps(rows))
    assert task.after_evaluation(again, "val")["caption"] == entry
    for row in again:
        row["loss"] = None
    nothing = task.after_evaluation(again, "val")["caption"]
    assert (nothing["loss"], nothing["perplexity"]) == (None, None)


def test_an_unknown_score_is_told_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="no captioning score 'cidr'.*cider"):
        InstructTask(evaluation={"caption": {"metrics": ["bleu", "cidr"]}})
    InstructTask(evaluation={"caption": {"metrics": ["spider"]}})
