"""The conversation of `pal ask --chat`, as from a pipe."""

import json
from types import SimpleNamespace

import pytest

from pal_plugin.clips import clip
from pal_plugin.commands.ask_chat import COMMANDS, Chat, lines_of
from pal_plugin.models.answering import Answering
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.chat import Conversation


@pytest.fixture(scope="module")
def model():
    return AudioLLM.from_pretrained("lal")


@pytest.fixture
def said(model, capsys):
    """`said(line, ..., jsonl=False)` -> (stdout, stderr) of a chat of these lines."""

    def said(*lines, jsonl=False):
        Chat(Answering(model), {"max_new_tokens": 8}, jsonl=jsonl).run(iter(lines))
        return capsys.readouterr()

    return said


@pytest.mark.slow
def test_turns_are_those_of_a_conversation(said, model):
    talk = Conversation(model)
    expected = [
        talk.ask("What do you hear?", audio=clip("dog"), max_new_tokens=8),
        talk.ask("And here?", audio=[clip("rain"), clip("dog")], max_new_tokens=8),
        talk.ask("How many sounds?", max_new_tokens=8),
    ]
    lines = ["/clip dog", "What do you hear?", "", "/clip rain", "/clip dog", "And here?"]
    assert said(*lines, "How many sounds?\n").out.splitlines() == expected
    rows = [json.loads(line) for line in said(*lines, jsonl=True).out.splitlines()]
    assert [row["answer"] for row in rows] == expected[:2]
    assert rows[1]["clips"] == ["rain", "dog"]


@pytest.mark.slow
def test_the_last_question_is_ranked_and_asked_again_without_the_audio(said, model):
    messages = [{"role": "user", "content": [{"type": "audio", "audio": clip("dog")}]}]
    messages[0]["content"].append({"type": "text", "text": "What do you hear?"})
    batch = {"messages": [messages]}
    lines = ["/clip dog", "What do you hear?", "/labels bell,rain", "/masked"]
    rows = [json.loads(line) for line in said(*lines, jsonl=True).out.splitlines()]
    ranked = model.predict_class(batch, ["bell", "rain"])["probabilities"][0]
    found = {row["label"]: row["probability"] for row in rows[1]["labels"]}
    assert found["bell"] == pytest.approx(float(ranked[0]), abs=1e-5)
    assert rows[2] == {
        "question": "What do you hear?",
        "answer_masked": model.generate({**batch, "audio_mask": [False]})[0],
    }
    out = said(*lines).out
    assert "probability" in out
    assert f"with the audio masked: {rows[2]['answer_masked']}" in out


def test_an_error_leaves_the_conversation_as_it_was(said):
    out, err = said("/clip dog", "Hear?", "why? " * 3000, "/clip gone", "/labels", "/new x", "Two?")
    assert len(out.splitlines()) == 2
    for message in ("tokens", "'gone'", "expected: /labels A,B,C", "expected: /new"):
        assert message in err
    assert len(said("/clip dog", "Hear?", "Two?").out.splitlines()) == 2


def test_new_forgets_and_quit_leaves(said):
    out, err = said("/clip dog", "Hear?", "/new", "/masked", "/nwe", "/help", "/quit", "Hear?")
    assert len(out.splitlines()) == 1
    assert "nothing was asked yet" in err
    assert "Did you mean '/new'" in err
    assert all(name in err for name in COMMANDS)


def test_ctrl_c_stops_an_answer_and_not_the_chat(model, capsys, monkeypatch):
    chat, whole = Chat(Answering(model), {"max_new_tokens": 8}, jsonl=True), model.generate_ids

    def stopped(*arguments, **generation):
        monkeypatch.setattr(model, "generate_ids", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "generate_ids", stopped)
    chat.run(iter(["/clip dog", "Hear?", "What do you hear?"]))
    out, err = capsys.readouterr()
    assert json.loads(out)["answer"] == model.ask(clip("dog"), "What do you hear?")
    assert "stopped" in err


def test_ctrl_c_forgets_a_line_and_twice_in_a_row_leaves(monkeypatch, capsys):
    typed = iter(["a", KeyboardInterrupt, "b", KeyboardInterrupt, KeyboardInterrupt, "c"])

    def given(prompt=""):
        if (line := next(typed)) is KeyboardInterrupt:
            raise line
        return line

    monkeypatch.setattr("builtins.input", given)
    assert list(lines_of(SimpleNamespace(isatty=lambda: True))) == ["a", "b"]
    assert capsys.readouterr().err.count("Ctrl-C again or Ctrl-D leaves") == 2


def test_a_dragged_file_has_quotes(said, tmp_path):
    (tmp_path / "my dog.wav").write_bytes(clip("dog").read_bytes())
    assert f"{tmp_path}/my dog.wav: 5.0 s" in said(f"/clip '{tmp_path}/my dog.wav'").err


def test_a_terminal_is_read_until_its_end(monkeypatch, capsys):
    lines = iter(["a", "b"])

    class Terminal:
        def isatty(self):
            return True

    def typed(prompt=""):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    assert list(lines_of(Terminal())) == ["a", "b"]
    assert "Ctrl-D leaves" in capsys.readouterr().err
