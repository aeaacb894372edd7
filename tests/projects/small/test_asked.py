"""What is asked is what pal_mini evaluates."""

from collections import Counter

import pytest

from pal_plugin.utils.errors import ConfigError


def test_the_domains_are_those_of_the_evaluation(script, tmp_path):
    asked = script("asked")
    with pytest.raises(ConfigError, match="clips of 'esc10' are missing"):
        asked.domains(tmp_path)
    asked.present = lambda clips, **_: clips
    found = {d.name: d for d in asked.domains(tmp_path)}
    assert {name: len(d.val) for name, d in found.items()} == {
        "esc10": 80,
        "digits": 150,
        "digits_unseen_speaker": 200,
        "instruments": 80,
    }
    unseen = found["digits_unseen_speaker"]
    assert len(unseen.train) == 1350  # of the other speakers
    assert not {c.path for c in unseen.train} & {c.path for c in unseen.val}
    assert found["instruments"].question == "Which instrument plays?"
    assert "clarinet" in found["instruments"].candidates
    third = asked.domains(tmp_path, every=3)[0]
    assert [c.path for c in third.val] == [c.path for c in found["esc10"].val][::3]
    assert len(Counter(c.label for c in third.val)) == 10


def test_accuracy_counts_none_as_wrong(script):
    assert script("asked").accuracy(["a", None, "b"], ["a", "b", "b"]) == {
        "accuracy": 0.6667,
        "n": 3,
    }


def test_options_that_cannot_be_used_are_refused(script, monkeypatch, capsys):
    monkeypatch.delenv("PAL_DATA", raising=False)
    asked = script("asked")
    with pytest.raises(SystemExit):
        asked.parsed(asked.arguments("what it does"), [])
    assert "set PAL_DATA" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        asked.parsed(asked.arguments("what it does"), ["--audio", ".", "--every", "0"])
    assert "at least 1, got 0" in capsys.readouterr().err
