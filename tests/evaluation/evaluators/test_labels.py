"""One label or several: by likelihood, by generated text, and as a picture."""

import pytest
import torch

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

from .conftest import LABELS, Told, batch, evaluate, item, tagged


def labelled(*answers):
    return batch(*(item("classification", a, candidates=LABELS) for a in answers))


def test_classification_by_likelihood_has_f1_beside_accuracy():
    model = Told(likes={"a": {"rain": 0}, "b": {"rain": 0}, "c": {"bell": 0}})
    ranked = {"classification": {"said": False}}
    task, rows, entries = evaluate(model, labelled("rain", "dog", "bell"), evaluation=ranked)
    entry = entries["classification"]
    assert entry["accuracy"] == entry["micro_f1"] == pytest.approx(2 / 3)
    assert entry["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert entry["accuracy_masked_audio"] == pytest.approx(1 / 3)
    how = task.describe("val")["classification"]["how"]
    assert "likelihood" in how["accuracy"]
    assert how["macro_f1"].startswith("scikit-learn")
    assert "said" not in rows[0]


def test_the_first_labels_are_kept_with_their_probabilities():
    class Probable(Told):
        def predict_class(self, samples, candidates):
            found = super().predict_class(samples, candidates)
            return {**found, "probabilities": torch.tensor([[0.25, 0.125, 0.625]])}

    rows = evaluate(Probable(likes={"a": {"rain": 0, "dog": -1}}), labelled("rain"))[1]
    assert rows[0]["ranked"] == [["rain", 0.25], ["dog", 0.125], ["bell", 0.625]]


def test_classification_by_generated_text_says_what_named_nothing():
    model = Told(says={"a": "The rain falls", "b": "a dog and a bell", "c": "a Bell."})
    settings = {"classification": {"by": "string"}}
    task, rows, entries = evaluate(model, labelled("rain", "dog", "bell"), evaluation=settings)
    assert [row["prediction"] for row in rows] == ["rain", "", "bell"]
    assert rows[1]["said"] == "a dog and a bell"
    assert entries["classification"]["accuracy"] == pytest.approx(2 / 3)
    assert entries["classification"]["unmatched"] == pytest.approx(1 / 3)
    assert entries["classification"]["unmatched_masked_audio"] == 1.0
    assert "contains" in task.describe("val")["classification"]["how"]["accuracy"]
    with pytest.raises(ConfigError, match=r"classification\.embedder"):
        InstructTask(evaluation={"classification": {"by": "embedding"}})
    by = {"by": "embedding", "embedder": "x", "template": "sound"}
    with pytest.raises(ConfigError, match=r"tagging\.template is 'sound'; expected .*\{label\}"):
        InstructTask(evaluation={"tagging": by})
    with pytest.raises(ConfigError, match="'string'"):
        InstructTask(evaluation={"classification": {"by": "strings"}})


def test_the_labels_can_be_ranked_and_an_answer_generated_beside_that():
    model = Told(
        says={"a": "The rain falls", "b": "a dog and a bell", "c": "It is a dog."},
        likes={"a": {"bell": 0}, "b": {"dog": 0}, "c": {"bell": 0}},
    )
    task, rows, entries = evaluate(model, labelled("rain", "dog", "bell"))
    assert [row["prediction"] for row in rows] == ["bell", "dog", "bell"]
    assert [row["named"] for row in rows] == ["rain", "", "dog"]
    assert rows[2]["said"] == "It is a dog."
    entry = entries["classification"]
    assert entry["accuracy"] == pytest.approx(2 / 3)
    assert entry["accuracy_said"] == pytest.approx(1 / 3)
    assert entry["unmatched"] == pytest.approx(1 / 3)
    assert entry["accuracy_said_masked_audio"] == 0.0
    assert entry["unmatched_masked_audio"] == 1.0
    how = task.describe("val")["classification"]["how"]
    assert "likelihood" in how["accuracy"]
    assert "contains" in how["accuracy_said"]


def test_a_model_that_does_not_say_what_it_ranks_is_told(caplog):
    likes = {"a": {"rain": 0}, "b": {"dog": 0}, "c": {"bell": 0}}
    says = {"a": "ststst", "b": "A dog.", "c": "ststst"}
    evaluate(Told(says=says, likes=likes), labelled("rain", "dog", "bell"))
    told = "3 clips: the right label ranks first for 100 %, but is generated for only 33 % (e.g."
    assert told in caplog.text
    assert caplog.text.count("ranks first") == 1  # not of the masked pass too
    caplog.clear()
    says = {"a": "Rain, and wind", "b": "A dog.", "c": "A bell"}
    evaluate(Told(says=says, likes=likes), labelled("rain", "dog", "bell"))
    assert "ranks first" not in caplog.text


def test_tagging_ranks_clips_for_each_label():
    likes = {
        "a": {"rain": 3, "dog": 1, "bell": 0},
        "b": {"rain": 2, "dog": 3, "bell": 0},
        "c": {"rain": 4, "dog": 2, "bell": 0},
    }
    model = Told(likes=likes)
    task, rows, entries = evaluate(model, tagged(["rain"], ["rain", "dog"], ["dog"]))
    # rain: c, a, b in order, right are a and b; dog: b, c, a, right are b and c; bell never.
    rain, dog = (1 / 2 + 2 / 3) / 2, 1.0
    assert entries["tagging"]["map"] == pytest.approx((rain + dog) / 2)
    assert entries["tagging"]["chance"] == pytest.approx(2 / 3)
    # The best label: rain, dog, rain, against 4 labels that are right.
    assert entries["tagging"]["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert rows[1]["right"] == [0, 1]
    assert rows[1]["scores"] == [2.0, 3.0, 0.0]
    assert "excluding 1 without any clip" in task.describe("val")["tagging"]["how"]["map"]


def test_tagging_has_the_labels_that_are_said_beside_the_ranking():
    says = {"a": "Rain and a dog.", "b": "a bell", "c": "ststst"}
    tags = tagged(["rain"], ["rain", "bell"], ["dog"])
    task, rows, entries = evaluate(Told(says=says, likes={n: {} for n in "abc"}), tags)
    assert [row["named"] for row in rows] == [[0, 1], [2], []]
    entry = entries["tagging"]
    assert entry["micro_f1_said"] == pytest.approx(2 * 2 / (3 + 4))
    assert entry["unmatched"] == pytest.approx(1 / 3)
    assert entry["micro_f1_said_masked_audio"] == 0.0
    assert "generated text" in task.describe("val")["tagging"]["how"]["micro_f1_said"]
    ranked = {"tagging": {"said": False}}
    _, rows, entries = evaluate(Told(likes={n: {} for n in "abc"}), tags, evaluation=ranked)
    assert "said" not in rows[0]
    assert "micro_f1_said" not in entries["tagging"]


def test_a_classification_of_several_labels_is_tagging():
    question = item("classification", "rain; dog", labels=["rain", "dog"], candidates=LABELS)
    model = Told(likes={"a": {"rain": 1}})
    _, rows, entries = evaluate(model, batch(question))
    assert rows[0]["task"] == "tagging"
    assert rows[0]["answers"] == ["rain", "dog"]
    assert "tagging" in entries


def test_confusion_pictures_and_what_is_too_large_for_one(tmp_path):
    many = [f"label {i}" for i in range(100)]
    samples = batch(item("classification", "rain", candidates=LABELS))
    task, rows, _ = evaluate(
        Told(says={"a": "rain"}, likes={"a": {"rain": 0}}), samples, masked_audio=False
    )
    assert task.write_files(rows, "val", tmp_path) == {}
    assert (tmp_path / "val.classification.confusion.png").stat().st_size > 1000
    rows = [{**rows[0], "reference": name, "answers": [name]} for name in many]
    missing = task.write_files(rows, "val", tmp_path)
    assert "100 labels" in missing["val.classification.confusion.png"]
