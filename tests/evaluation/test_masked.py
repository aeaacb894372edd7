"""The masked control: it depends on the text alone, and asks each distinct question once."""

import json

import cli
import pytest
import torch

from pal_plugin.batch import masked
from pal_plugin.evaluation.masked import Unheard
from pal_plugin.tasks import instruct
from pal_plugin.types import AudioTokens

TYPES = ["plits", "lal", "pal", "flamingo"]


@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_a_masked_answer_does_not_depend_on_the_clip(tiny_model, two_clips, model_type):
    """Neither on what is heard nor on how long it is; heard, the same clips change the answer."""
    model = tiny_model(model_type)
    texts = {key: [two_clips[key][0]] * 2 for key in ("text_input", "text_output")}
    tokens = model.encode_audio({"audio": two_clips["audio"]})
    spoilt = {
        name: AudioTokens(torch.full_like(t.features, 1e4), t.mask, t.grid)
        for name, t in tokens.items()
    }

    def told(tokens, hide):
        samples = {**texts, "audio_tokens": tokens}
        samples = masked(samples) if hide else samples
        scores = model.predict_class(samples, ["bell", "rain", "no"])["scores"]
        return torch.cat([model(samples)["per_row_loss"][:, None], scores], 1)

    assert torch.equal(told(tokens, hide=True), told(spoilt, hide=True))
    first, second = told(tokens, hide=True)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    alone = {name: t.select(torch.tensor([0])) for name, t in tokens.items()}
    alone = {n: AudioTokens(t.features[:, :2], t.mask[:, :2]) for n, t in alone.items()}
    samples = {key: text[:1] for key, text in texts.items()} | {"audio_tokens": alone}
    loss = model(masked(samples))["per_row_loss"][0]  # two audio tokens a group in all
    torch.testing.assert_close(loss, first[0], rtol=1e-5, atol=1e-5)
    heard = told(tokens, hide=False)
    assert (heard - told(tokens, hide=True)).abs().amin(0).max() > 1e-3


class Model:
    """Counts the rows that it is asked about, and answers by their texts."""

    def __init__(self):
        self.rows = []

    def generate(self, samples, **generation):
        assert not samples["audio_mask"].any()
        self.rows += samples["sample_id"]
        return [f"{text}! {sorted(generation.items())}" for text in samples["text_input"]]

    def predict_class(self, samples, candidates):
        self.rows += samples["sample_id"]
        scores = torch.tensor(
            [[float(len(t + c)) for c in candidates] for t in samples["text_input"]]
        )
        return {"predictions": [max(candidates, key=len)] * len(scores), "scores": scores}

    def __call__(self, samples):
        self.rows += samples["sample_id"]
        pairs = zip(samples["text_input"], samples["text_output"], strict=True)
        return {"per_row_loss": torch.tensor([float(len(q) * 100 + len(a)) for q, a in pairs])}


def batch(*questions, answers=None, start=0):
    return masked(
        {
            "text_input": list(questions),
            "text_output": list(answers or questions),
            "sample_id": [start + row for row in range(len(questions))],
        }
    )


def test_each_distinct_question_is_asked_once():
    model, known = Model(), {}
    first = Unheard(model, known).generate(batch("a", "b", "a"), num_beams=2)
    assert first == ["a! [('num_beams', 2)]", "b! [('num_beams', 2)]", "a! [('num_beams', 2)]"]
    assert model.rows == [0, 1]
    # Later batches know the answers; other settings, methods and candidates are other questions.
    unheard = Unheard(model, known)
    assert unheard.generate(batch("c", "b", start=3), num_beams=2)[1] == first[1]
    assert model.rows == [0, 1, 3]
    assert unheard.generate(batch("a", start=5), num_beams=1) == ["a! [('num_beams', 1)]"]
    for candidates in (["x", "yy"], ["x", "yyy"]):
        found = unheard.predict_class(batch("a", "a", "b", start=6), candidates)
        assert found["predictions"] == [candidates[1]] * 3
        assert found["scores"].tolist() == [[2, 1 + len(candidates[1])]] * 3
    assert model.rows == [0, 1, 3, 5, 6, 8, 6, 8]


def test_a_loss_is_that_of_question_and_reference():
    model = Model()
    samples = batch("q", "q", "q", answers=["rain", "dogs", "rain"])
    losses = Unheard(model, {})(samples)["per_row_loss"]
    assert losses.tolist() == [104.0, 104.0, 104.0]
    assert model.rows == [0, 1]


def test_sampled_answers_are_all_asked():
    model = Model()
    assert len(Unheard(model, {}).generate(batch("a", "a"), do_sample=True)) == 2
    assert model.rows == [0, 1]


def test_answers_of_other_weights_are_forgotten():
    task = instruct.InstructTask(select_by=None)
    samples = {**batch("a"), "task": ["caption"], "question_type": ["caption"]}
    samples |= {"question_id": ["0"], "answers": [["a"]]}
    del samples["audio_mask"]
    model = Model()
    model.generate = lambda part, **generation: ["x"] * len(part["text_input"])
    for number in range(3):
        task.before_evaluation(model=model, dataset=None)
        task.valid_step(model, samples)
        task.valid_step(model, samples)
        assert len(model.rows) == 3 * (number + 1)  # heard twice, masked once


def test_rows_and_figures_are_those_of_asking_every_row(toy, monkeypatch):
    """A whole evaluation of the toy listener, with the control and without."""
    assert cli.train(["--cfg-path", str(toy.recipe), "--job-id", "trained"]) == 0
    output = toy.folder / "output"
    for name in ("once", "every"):
        with monkeypatch.context() as patch:
            if name == "every":
                patch.setattr(instruct, "Unheard", lambda model, known: model)
            assert cli.evaluate(["--cfg-path", str(toy.recipe), "--job-id", name]) == 0
    for file in ("metrics.json", "result/val.jsonl"):
        once, every = ((output / name / file).read_text("utf-8") for name in ("once", "every"))
        assert once.replace("once", "every") == every
    rows = [json.loads(x) for x in (output / "once/result/val.jsonl").read_text().splitlines()]
    assert {"prediction_masked", "loss_masked"} <= set().union(*rows)


def test_conversations_are_told_apart_by_all_their_turns_and_not_by_their_clips():
    def talk(clip, said):
        asked = [{"type": "audio", "audio": clip}, {"type": "text", "text": "Which?"}]
        return [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said},
            {"role": "user", "content": "And the other?"},
        ]

    model = Model()
    messages = [talk(0, "first"), talk(1, "first"), talk(2, "second")]
    batch = {
        "messages": messages,
        "text_input": ["And the other?"] * 3,
        "sample_id": ["a", "b", "c"],
    }
    Unheard(model, {}).generate(masked(batch))
    assert model.rows == ["a", "c"]
