"""The examples of a report: in turns from tasks, right and wrong, or the most wrong first."""

import random

from pal_plugin.evaluation.examples import answer_of, choose, readable, wrongness


def row(number, task, right=True, **more):
    texts = {"reference": "yes", "answers": ["yes"], "prediction": "yes" if right else "no"}
    name = f"{task}{number}"
    return {"id": name, "sample_id": name, "task": task, "question_type": task, **texts, **more}


def test_tasks_and_right_and_wrong_answers_take_turns():
    qa = [row(n, "qa", n % 10 == 0) for n in range(100)]
    labels = [row(n, "classification") for n in range(3)]
    shown = choose({"val": qa, "test": labels}, count=20)
    assert [split for split, _ in shown[:6]] == ["val", "test"] * 3
    assert sum(wrongness(one) == 0 for split, one in shown if split == "val") == 9
    assert len(shown) == 20
    mixed = random.Random(0).sample(qa, len(qa))
    assert choose({"val": mixed, "test": labels}, count=20) == shown


def test_the_worst_are_the_most_wrong_and_of_these_the_most_certain():
    sure = [
        row(n, "classification", n == 0, ranked=[["no", 0.1 * n], ["yes", 0.0]]) for n in range(4)
    ]
    heard = [row(n, "transcript", prediction=" ".join(["no"] * n)) for n in (1, 3, 2)]
    names = [one["id"] for _, one in choose({"val": [*sure, *heard]}, worst=True)]
    assert [name for name in names if name.startswith("class")] == [
        f"classification{n}" for n in (3, 2, 1, 0)
    ]
    assert [name for name in names if name.startswith("trans")] == [
        f"transcript{n}" for n in (3, 2, 1)
    ]


def test_rows_without_an_answer_are_passed_over():
    captions = [row(n, "caption", loss=float(n), prediction=None) for n in range(3)]
    captions[1]["prediction"] = "a bell"
    assert [one["id"] for _, one in choose({"val": captions})] == ["caption1"]
    assert wrongness(captions[1]) == 1.0
    assert wrongness({**captions[1], "loss": None}) is None


def test_an_answer_is_what_was_said_or_else_the_choice():
    one = {"prediction": "dog", "said": "a dog", "prediction_masked": "cat"}
    assert answer_of(one) == "a dog"
    assert answer_of(one, "_masked") == "cat"


def test_rows_of_another_task_are_not_readable():
    whole = {**row(0, "qa"), "question": "?"}
    assert readable([whole])
    for other in ({"caption": "x"}, "text", {**whole, "task": "of a host"}):
        assert not readable([whole, other])
