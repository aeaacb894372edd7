"""Told, told something else, told nothing."""

import json

import pytest


def test_who_believes_what_is_said_is_right_when_it_is_true(script, pitches, parrot):
    ceiling = script("ceiling")
    found = ceiling.evaluate([pitches], parrot, "You hear a {label} one. {question}", seed=1)
    assert found["pitch"]["told"] == {"accuracy": 1.0, "n": 4}
    assert found["pitch"]["believed"]["accuracy"] == 1.0
    # Two labels, two clips each: how many of four are dealt their own is 0, 2 or 4.
    assert found["pitch"]["shuffled"]["accuracy"] in (0.0, 0.5)
    assert found["pitch"]["question_alone"]["accuracy"] == 0.5
    assert len(parrot.prompts) == 3  # each sentence is read once
    again = ceiling.evaluate([pitches], parrot, "You hear a {label} one. {question}", seed=1)
    assert again == found


def test_it_prints_json_with_its_settings(script, pitches, parrot, monkeypatch, capsys):
    ceiling = script("ceiling")
    monkeypatch.setattr(ceiling, "TextOnly", lambda name: parrot)
    monkeypatch.setattr(ceiling, "domains", lambda audio, every: [pitches])
    assert ceiling.main(["--audio", ".", "--seed", "4"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["pitch"]["told"]["n"] == 4
    assert printed["settings"]["seed"] == 4
    with pytest.raises(SystemExit):
        ceiling.main(["--audio", ".", "--form", "You hear it."])
    assert "expected {label} and {question}" in capsys.readouterr().err
