"""Questions for evalscope: the right letter, and in the control nothing of the clips."""

import base64
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from pal_plugin.clips import clip, clips

SCRIPT = Path(__file__).parents[2] / "projects" / "pal" / "evalscope" / "clips.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evalscope_clips", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("argv", [[], ["--without-audio"]])
def test_questions(script, argv, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clips.py", "make", str(tmp_path), *argv])
    assert script.main() == 0
    assert "20 questions" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "clips.jsonl").read_text().splitlines()]
    label_of = {str(entry.path): entry.label for entry in clips()}
    for row in rows:
        assert len(set(row["options"])) == 4
        heard = [value for key, value in row.items() if key.startswith("audio_")]
        assert len(heard) == row["question"].count("<audio ")
        if argv:
            assert not heard
            continue
        which = "second clip" in row["question"]
        right = row["options"]["ABCD".index(row["answer"])]
        assert right == label_of[heard[which]]


def test_what_evalscope_sent_is_what_the_model_is_asked(script):
    data = clip("dog").read_bytes()
    text = {"type": "text", "text": "What?", "internal": None, "refusal": None}
    for audio in (str(clip("dog")), f"data:audio/ogg;base64,{base64.b64encode(data).decode()}"):
        part = {"type": "audio", "audio": audio, "format": "mp3", "internal": None}
        message = {"role": "user", "content": [part, text], "id": "1"}
        assert script.message_of(message) == {
            "role": "user",
            "content": [{"type": "audio", "audio": data}, {"type": "text", "text": "What?"}],
        }
