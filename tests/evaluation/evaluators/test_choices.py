"""Multiple choice: read in two ways, ranked, shuffled."""

import json
from pathlib import Path

import pytest
import torch

from pal_plugin.corpora.items import multiple_choice
from pal_plugin.datasets.collate import collate_clips
from pal_plugin.utils.errors import ConfigError

from .conftest import Told, batch, evaluate, item

MMAU = Path(__file__).parents[4] / "shared/data/annotations/mmau/mmau-test-mini_excerpt.json"


def choose(answer, choices, **more):
    return multiple_choice("mmau", "Which?", choices, answer, "sound", **more)


def test_multiple_choice_is_read_in_two_ways_and_ranked():
    choices = ["Man", "Woman", "Child"]
    samples = batch(
        *(choose("Woman", choices, facts={"difficulty": d, "id": i})
          for i, d in enumerate(["easy", "easy", "hard", "hard"]))
    )  # fmt: skip
    says = {"a": "(B)", "b": "A woman.", "c": "I cannot tell", "d": "not a man, a woman"}
    likes = {"a": {"Woman": 0}, "b": {"Man": 0}, "c": {"Woman": 0}, "d": {"Child": 0}}
    _, rows, entries = evaluate(Told(says, likes), samples)
    entry = entries["multiple_choice"]
    assert entry["accuracy"] == 0.75
    assert entry["accuracy_mmau_rule"] == 0.25  # neither letters nor "not a man"
    assert entry["accuracy_ranked"] == 0.5
    assert entry["unparsed"] == 0.25
    assert entry["unparsed_masked_audio"] == 1.0
    assert entry["chance"] == pytest.approx(1 / 3)
    assert entries["multiple_choice/difficulty=easy"]["accuracy"] == 1.0
    assert entries["multiple_choice/difficulty=hard"]["accuracy"] == 0.5
    assert not any("/id=" in name for name in entries)  # a value per row is no category
    assert rows[2]["asked"][0]["read"] is None
    assert "accuracy_sd" not in entry


def test_shuffled_choices_show_a_model_that_likes_the_first():
    choices = ["Man", "Woman", "Child", "Robot"]
    samples = batch(*(choose("Man", choices) for _ in range(10)))
    model = Told(dict.fromkeys("abcdefghij", "A"), {name: {"Man": 0} for name in "abcdefghij"})
    settings = {"multiple_choice": {"shuffles": 6}}
    _, rows, entries = evaluate(model, samples, evaluation=settings, masked_audio=False)
    entry = entries["multiple_choice"]
    assert entry["accuracy_ranked"] == 1.0
    assert 0.05 < entry["accuracy"] < 0.5
    assert 0 < entry["accuracy_sd"] < 0.5
    assert len(rows[0]["asked"]) == 6
    assert all(sorted(a["choices"]) == sorted(choices) for row in rows for a in row["asked"])
    firsts = [row["asked"][0]["choices"] for row in rows]
    for choices, question in zip(firsts, model.asked[: len(rows)], strict=True):
        assert str(choices) in question
    _, _, given = evaluate(model, samples, masked_audio=False)
    assert given["multiple_choice"]["accuracy"] == 1.0


def test_choices_are_put_into_a_bare_question_and_not_twice():
    bare = item("multiple_choice", "dog", candidates=["rain", "dog"], question="Which?")
    written = item("multiple_choice", "dog", candidates=["rain", "dog"], question="rain or dog?")
    model = Told(dict.fromkeys("ab", "dog"), {name: {"dog": 0} for name in "ab"})
    evaluate(model, batch(bare, written), masked_audio=False)
    assert model.asked == [
        "Which?  Select one option from the provided choices.\n['rain', 'dog'].",
        "rain or dog?",
    ]
    settings = {"multiple_choice": {"shuffles": 9}}  # one of the orders is not the given one
    with pytest.raises(ConfigError, match="cannot be shuffled"):
        evaluate(model, batch(written), evaluation=settings)
    with pytest.raises(ConfigError, match="among its candidates"):
        evaluate(model, batch(item("multiple_choice", "cat", candidates=["rain", "dog"])))


@pytest.mark.shared
@pytest.mark.skipif(not MMAU.is_file(), reason=f"no excerpt of MMAU at {MMAU}")
def test_real_mmau_rows_go_through_the_multiple_choice_path():
    rows = json.loads(MMAU.read_text("utf-8"))
    assert len(rows) > 200
    clips, says, likes = [], {}, {}
    for number, row in enumerate(rows):
        facts = {k: row[k] for k in ("difficulty", "category", "task")}
        question = multiple_choice(
            "mmau", row["question"], row["choices"], row["answer"], row["task"], facts=facts
        )
        clips.append({"audio": torch.zeros(1), "sample_id": row["id"], "items": [question]})
        letter = "ABCDEFGH"[row["choices"].index(row["answer"])]
        # By turns: the text, a sentence, a letter, nothing.
        says[row["id"]] = [row["answer"], f"The answer is {row['answer']}.", f"({letter})", ""][
            number % 4
        ]
        likes[row["id"]] = {row["answer"]: 0}
    _, found, entries = evaluate(Told(says, likes), collate_clips(clips, torch.stack))
    turns = {i: [r for n, r in enumerate(found) if n % 4 == i] for i in range(4)}
    told = [row for i in (0, 1, 2) for row in turns[i]]
    differ = [row for row in told if row["asked"][0]["read"] != row["reference"]]
    # A note "D" that is the third choice: its name, or the letter of the fourth?
    assert all(len(row["reference"]) == 1 for row in differ)
    assert all(row["asked"][0]["read"] is None for row in [*differ, *turns[3]])
    assert len(differ) <= 1
    unparsed = len(differ) + len(turns[3])
    assert entries["multiple_choice"]["unparsed"] == pytest.approx(unparsed / len(found))
    assert entries["multiple_choice"]["accuracy_ranked"] == 1.0
    assert {"multiple_choice/sound", "multiple_choice/difficulty=medium"} <= set(entries)
