"""What is written is what the LLM reads, and the words of known speech are counted."""

import csv
import json

import numpy as np
import pytest
import soundfile


def test_the_transcript_stands_in_the_prompt(script, pitches, parrot):
    cascade = script("cascade")

    def write(path):
        return f"it is {'low' if path.name.startswith('low') else 'HIGH'}"

    form = "Heard: {transcript} {question}"
    pitches = type(pitches)("pitch", "Which?", ["high", "low"], pitches.val, [])
    found = cascade.evaluate([pitches], write, parrot, form)
    assert parrot.prompts[0] == "Heard: it is low Which?"
    assert found["pitch"]["cascade"] == {"accuracy": 1.0, "n": 4}  # "high" is the parrot's default
    assert found["pitch"]["named"] == {"accuracy": 1.0, "n": 4}
    assert found["clips"][0] == {
        "domain": "pitch",
        "file": "low4.wav",
        "label": "low",
        "transcript": "it is low",
        "prediction": "low",
    }


@pytest.mark.parametrize(
    ("transcript", "label"),
    [
        ("Zero.", "zero"),
        ("0", "zero"),
        ("Nine, one!", "nine"),
        ("someone", None),
        ("", None),
        ("A hi hat", "hi hat"),
    ],
)
def test_labels_are_found_as_words(script, transcript, label):
    assert script("cascade").named(transcript, ["one", "nine", "zero", "hi hat"]) == label


def test_words_are_counted(script, tmp_path):
    with (tmp_path / "transcripts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["file", "transcript"], ["a.wav", "one two three four"]])
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    found = script("cascade").spoken_rate(tmp_path / "transcripts.csv", lambda path: "One, two for")
    assert found["wer"] == 0.5
    assert found["clips"][0]["transcript"] == "One, two for"


def test_it_says_what_it_cannot_use(script, capsys, monkeypatch):
    cascade = script("cascade")
    with pytest.raises(SystemExit):
        cascade.main(["--audio", ".", "--form", "{question}"])
    assert "expected {transcript} and {question}" in capsys.readouterr().err
    monkeypatch.setattr(
        cascade, "type_section", lambda name: {"encoders": {"clap": {"type": "clap"}}}
    )
    with pytest.raises(SystemExit):
        cascade.main(["--audio", ".", "--model-type", "deaf"])
    assert "'deaf' has no Whisper, only ['clap']" in capsys.readouterr().err


def test_it_prints_json(script, pitches, parrot, monkeypatch, capsys):
    cascade = script("cascade")
    monkeypatch.setattr(cascade, "Transcriber", lambda folder, tokenizer: lambda path: "low")
    monkeypatch.setattr(cascade, "TextOnly", lambda name: parrot)
    monkeypatch.setattr(cascade, "resolve", str)
    monkeypatch.setattr(cascade, "domains", lambda audio, every: [pitches])
    assert cascade.main(["--audio", ".", "--every", "2"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["pitch"]["named"]["accuracy"] == 0.5
    assert printed["settings"]["every"] == 2
