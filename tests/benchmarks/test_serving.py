"""The load generator on a toy: every question is answered, and every ratio is there."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import serving
from pal_plugin.models.audio_llm import AudioLLM


@pytest.mark.slow
def test_command_line(tmp_path, monkeypatch, capsys, tiny_model):
    monkeypatch.setattr(AudioLLM, "from_pretrained", lambda name: tiny_model(name))
    argv = ["plits", "lal", "--clients", "1", "3", "--requests", "3", "--batch", "3"]
    argv += ["--seconds", "0.5", "--answer", "3", "--turns", "3", "--rounds", "1"]
    found = serving.main([*argv, "--out", str(tmp_path / "found")])
    assert [(row["model"], row["clients"]) for row in found["together"]] == [
        *(("plits", 1), ("lal", 1), ("plits", 3), ("lal", 3)),
    ]
    for row in [*found["together"], *found["beside"]]:
        assert all(row[figure]["median"] > 0 for figure in serving.FIGURES)
    assert [row["model"] for row in found["follow-ups"]] == ["plits", "lal"]
    assert "plits / lal, together" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["beside"] == found["beside"]


def test_all_questions_are_asked_by_as_many_clients():
    running, most, asked = set(), [], []
    wait = serving.threading.Barrier(3)

    def ask(messages):
        running.add(messages)
        wait.wait(10)
        most.append(len(running))
        wait.wait(10)
        running.discard(messages)
        asked.append(messages)
        return 1.0, 2.0 + messages

    found = serving.load(ask, range(6), clients=3)
    assert sorted(asked) == list(range(6))
    assert max(most) == 3
    figures = SimpleNamespace(**{n.split()[0]: v for n, v in found.figures().items()})
    assert figures.requests == 6 / found.seconds
    assert found.figures()["whole, median"] == 4.5
    assert found.figures()["first text, p95"] == 1.0


def test_what_goes_wrong_is_raised():
    def ask(messages):
        raise ValueError("no clip")

    with pytest.raises(ValueError, match="no clip"):
        serving.load(ask, [1, 2], clients=2)
