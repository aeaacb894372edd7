"""`pal ask`: answers on stdout and all else on stderr; errors before a model is loaded."""

import io
import json
import sys

import pytest

from pal_plugin.clips import clip
from pal_plugin.commands.main import main
from pal_plugin.models import opening
from pal_plugin.models.audio_llm import AudioLLM


@pytest.fixture(scope="module")
def model():
    return AudioLLM.from_pretrained("lal")


@pytest.fixture
def ask(model, monkeypatch, capsys):
    """`ask(*arguments, stdin="")` -> (exit code, stdout, stderr), with a model loaded before."""
    monkeypatch.setattr(opening.Found, "open", lambda found, device=None: model)

    def ask(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return main(["ask", "--model", "lal", *arguments]), *capsys.readouterr()

    return ask


def test_the_answer_is_all_there_is_on_stdout(ask, model):
    code, out, err = ask("dog", "What do you hear?")
    assert (code, out) == (0, model.ask(clip("dog"), "What do you hear?") + "\n")
    assert "loading the type lal" in err
    assert "M parameters" in err


def test_labels_with_and_without_the_audio(ask, model):
    labels = ["bell", "rain"]
    batch = {"audio": [clip("dog")], "text_input": ["What do you hear?"]}
    expected = model.predict_class(batch, labels)["probabilities"][0]
    # options stand where they like
    _, out, _ = ask("dog", "--labels", "bell,rain", "What do you hear?", "--masked", "--jsonl")
    facts = json.loads(out)
    found = {row["label"]: row["probability"] for row in facts["labels"]}
    assert found == {
        label: pytest.approx(float(p), abs=1e-5) for label, p in zip(labels, expected, strict=True)
    }
    assert facts["answer"] == labels[int(expected.argmax())]
    masked = [row["probability_masked"] for row in facts["labels"]]
    assert sum(masked) == pytest.approx(1)
    assert masked != pytest.approx([row["probability"] for row in facts["labels"]], abs=1e-3)
    _, out, _ = ask("dog", "What do you hear?", "--labels", "bell,rain")
    assert out.splitlines()[2].startswith(facts["answer"])


def test_a_list_of_questions_gives_an_object_each(ask, model):
    questions = ["What do you hear?", "How many sounds are there?"]
    arguments = ("--questions", "-", "--jsonl", "--max-new-tokens", "2", "--masked")
    code, out, err = ask("dog", "rain", *arguments, stdin="\n".join(questions))
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["question"] for row in rows] == questions
    for row in rows:
        assert row["clips"] == ["dog", "rain"]
        assert row["model"] == "lal"
        assert row["audio_tokens"] > 0
        assert row["completion_tokens"] <= 2
        assert row["answer_masked"]
    assert code == 0
    if "length" in {row["finish_reason"] for row in rows}:
        assert "cut at --max-new-tokens 2" in err


@pytest.mark.slow
def test_a_temperature_samples_by_its_seed(ask):
    given = ("dog", "What do you hear?", "--temperature", "3", "--seed")
    said = [ask(*given, seed)[1] for seed in ("1", "1", "2")]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to ask"),
        (("dog",), "no question"),
        (("dog", ""), "the question is empty"),
        (("What?",), "no clip"),
        (("gone.wav", "What?"), "no audio file"),
        (("dog", "What?", "--labels", "a,"), "an empty label"),
        (("-", "--questions", "-"), "standard input can be one thing"),
        (("--chat", "-"), "standard input can be one thing"),
        (("--chat", "--masked"), "/masked"),
        (("dog", "What?", "--model", "la"), "Did you mean 'lal'"),
    ],
)
def test_bad_input_is_one_sentence(ask, arguments, message):
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_more_than_the_context_holds_is_one_sentence(ask):
    code, out, err = ask("dog", "why? " * 3000)
    assert (code, out) == (2, "")
    assert "tokens" in err.splitlines()[-1]


def test_long_clips_are_announced_before_they_are_encoded(ask, monkeypatch):
    assert "encoding" not in ask("dog", "dog", "Hear?", "--max-new-tokens", "1")[2]
    monkeypatch.setattr("pal_plugin.commands.ask._LONG_S", 9)
    assert "encoding" not in ask("dog", "dog", "Hear?", "--max-new-tokens", "1")[2]  # one clip
    assert "encoding 10 s of" in ask("dog", "rain", "Hear?", "--max-new-tokens", "1")[2]


def test_a_chat_is_begun_with_clips_and_a_question(ask, model):
    code, out, _ = ask("--chat", "dog", "What do you hear?", stdin="And how many?\n")
    assert code == 0
    assert out.splitlines()[0] == model.ask(clip("dog"), "What do you hear?")
    assert len(out.splitlines()) == 2
