"""Clips that an evaluation goes without are allowed by the run file, named, counted and shown."""

import json

import cli
import numpy as np
import pytest
import soundfile
from toys import LABELS, RATE_HZ, facts, flac, tone, write_shard

from pal_plugin.commands.main import main as pal

CLIPS = """
model: {{arch: toy_listener, model_type: small, checkpoint: '{checkpoint}'}}
datasets:
  mine:
    builder: pal_clips
    candidates: [low, high]
    build_info:
      audio: {{storage: '{folder}'}}
      annotations: {{val: {{storage: '{folder}/clips.csv'}}}}
      allow_missing: {allowed}
run: {{batch_size_eval: 2, num_workers: 0, evaluate: true}}
"""
SHARDS = """
model: {{arch: toy_listener, model_type: small, checkpoint: '{checkpoint}'}}
datasets:
  mine:
    builder: pal_shards
    candidates: [low, high]
    tasks: {{qa: {qa}, caption: 0, classification: 0, transcript: 0}}
    build_info: {{shards: {{val: '{folder}/s-{{0..1}}.tar'}}, counts: {{val: {count}}},
      allow_missing: {allowed}}}
run: {{batch_size_eval: 2, num_workers: 0, evaluate: true}}
"""


@pytest.fixture
def evaluate(toy, tmp_path):
    """evaluate(run file, name) -> exit code; the model is a trained toy."""
    assert cli.train(["--cfg-path", str(toy.recipe), "--job-id", "trained"]) == 0

    def make(text, name, **values):
        recipe = tmp_path / f"{name}.yaml"
        checkpoint = toy.folder / "output" / "trained"
        recipe.write_text(text.format(checkpoint=checkpoint, folder=tmp_path / "data", **values))
        return cli.evaluate(["--cfg-path", str(recipe), "--job-id", name])

    (tmp_path / "data").mkdir()
    return make


def told(toy, name):
    path = toy.folder / "output" / name / "evaluation.json"
    return json.loads(path.read_text())["val"]["provenance"]


def test_missing_and_broken_files(toy, evaluate, tmp_path, capsys):
    folder = tmp_path / "data"
    lines = ["filename,category"]
    for number in range(6):
        path = folder / f"{number}.wav"
        soundfile.write(path, tone(LABELS[number % 2], np.random.default_rng(number)), RATE_HZ)
        lines.append(f"{path.name},{LABELS[number % 2]}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "2.wav").write_bytes(b"no audio")
    assert evaluate(CLIPS, "broken", allowed="false") == 2
    assert "2.wav" in capsys.readouterr().err
    (folder / "3.wav").unlink()
    assert evaluate(CLIPS, "missing", allowed="false") == 2
    assert "allow_missing=true" in capsys.readouterr().err
    assert evaluate(CLIPS, "allowed", allowed="true") == 0
    found = told(toy, "allowed")
    assert found["clips"] == {"in the datasets": 5, "answered": 4, "left out": 2}
    missing, broken = found["left out"]
    assert missing.endswith("3.wav: no such file")
    assert "2.wav (cannot decode" in broken
    capsys.readouterr()
    assert pal(["results", str(toy.folder / "output" / "allowed")]) == 0
    assert "val: 2 clips or questions skipped" in capsys.readouterr().out


def test_fewer_clips_in_the_shards_than_stated(toy, evaluate, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for shard in range(2):
        clips = [
            (key, flac(tone(label, rng)), facts(key, label))
            for key, label in ((f"{shard}-{i}", LABELS[i % 2]) for i in range(3))
        ]
        clips[0][2]["items"] = clips[0][2]["items"][:1]  # nothing but a classification
        write_shard(tmp_path / "data" / f"s-{shard}.tar", clips)
    assert evaluate(SHARDS, "whole", allowed="false", count=6, qa=1) == 0
    assert told(toy, "whole")["clips"] == {"in the datasets": 6, "answered": 4, "left out": 0}
    assert evaluate(SHARDS, "fewer", allowed="false", count=8, qa=1) == 2
    assert "val: expected 8 clips, read 6" in capsys.readouterr().err
    (tmp_path / "data" / "s-1.tar").unlink()
    assert evaluate(SHARDS, "gone", allowed="false", count=6, qa=1) == 2
    assert "s-1.tar: no such file" in capsys.readouterr().err
    assert evaluate(SHARDS, "allowed", allowed="true", count=6, qa=1) == 0
    shard, more = told(toy, "allowed")["left out"]
    assert "s-1.tar (no such file)" in shard
    assert more.startswith("2 more clips")
