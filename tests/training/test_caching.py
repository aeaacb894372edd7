"""Runs with kept encoder states: the same training, and the second one encodes nothing."""

import json
import logging
import os
import subprocess
import sys

import cli
import numpy as np
import pytest
import soundfile
from processes import Rendezvous

from pal_plugin.encoders.cache import EncoderCache
from pal_plugin.training import encoding

RATE_HZ = 16000
RECIPE = """
model:
  arch: pal
  model_type: lal
  checkpoint: null
  stage: {{llm: frozen}}
  encoders:
    sslam: {{cache: {cache}}}
    clap: {{cache: {cache}}}
    whisper: {{cache: {cache}}}
datasets: {datasets}
run: {{max_epoch: 2, batch_size_train: 2, num_workers: {workers}, length_pool: 1, log_freq: 1,
       device: cpu, torch_threads: 1, masked_audio: false, output_dir: '{folder}/output'}}
"""
CLIPS = """
  pal_clips:
    candidates: [low, high]
    build_info:
      audio: {{storage: '{folder}'}}
      annotations:
        train: {{storage: '{folder}/clips.csv', where: {{split: train}}}}
        val: {{storage: '{folder}/clips.csv', where: {{split: val}}}}
"""
AUGMENTED = """
  pal_mini:
    build_info: {{audio: {{storage: '{folder}'}}, annotations: '{folder}/clips.csv'}}
    domains:
      digits: null
      digits_unseen_speaker: null
      instruments: null
      esc10: {{domain: tones}}
"""


def write_clips(folder, count):
    """Tones of other lengths; the last two are to evaluate on."""
    lines, rng = ["filename,category,domain,split"], np.random.default_rng(0)
    for number in range(count):
        seconds, label = 0.4 + 0.2 * (number % 6), ("low", "high")[number % 2]
        tone = np.sin(np.arange(round(seconds * RATE_HZ)) * (0.05, 0.3)[number % 2])
        tone = 0.1 * (tone + 0.1 * rng.standard_normal(len(tone)))
        soundfile.write(folder / f"{number}.wav", tone, RATE_HZ)
        lines.append(f"{number}.wav,{label},tones,{'train' if number < count - 2 else 'val'}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """`recipe(name, ...)` writes one, with its clips, and returns its path; there is no cache."""
    monkeypatch.setenv("PAL_CACHE", str(tmp_path / "cache"))

    def write(name, cache="true", workers=0, datasets=CLIPS, clips=6):
        write_clips(tmp_path, clips)
        path = tmp_path / f"{name}.yaml"
        datasets = datasets.format(folder=tmp_path)
        values = {"cache": cache, "workers": workers, "datasets": datasets, "folder": tmp_path}
        path.write_text(RECIPE.format(**values))
        return str(path)

    return write


@pytest.fixture
def filled(monkeypatch):
    """Names of the encoders that encoded something, in turn."""
    names, fill = [], EncoderCache.fill

    def counted(self, encoder, entry):
        names.append(self.name)
        return fill(self, encoder, entry)

    monkeypatch.setattr(EncoderCache, "fill", counted)
    return names


def losses(tmp_path, name):
    lines = (tmp_path / "output" / name / "log.txt").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "batch_loss" in json.dumps(line)]
    return [json.dumps(line["batch_loss"]) for line in steps]


def train(path, name):
    assert cli.train(["--cfg-path", path, "--job-id", name]) == 0


def test_a_run_fills_the_cache_and_the_next_one_encodes_nothing(recipe, filled, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(recipe("plain", cache="null"), "plain")
    assert not filled
    assert not (tmp_path / "cache").exists()
    train(recipe("kept"), "first")
    assert "6 clips (variants counted) of one window take up to" in caplog.text
    # Of two epochs and evaluations, the first of each.
    assert len(filled) == 3 * (2 + 1)
    filled.clear()
    train(recipe("kept", workers=1), "second")
    assert not filled
    plain, first, second = (losses(tmp_path, name) for name in ("plain", "first", "second"))
    assert len(plain) == 4
    assert first[:2] == plain[:2]  # as long as batches are composed as they were encoded
    for other in (first, second):
        assert list(map(float, other)) == pytest.approx(list(map(float, plain)), rel=1e-4)


def encode(path, *options, **how):
    from pal_plugin.config.run_config import load_config

    encoding.encode(load_config(path, list(options)), **{"batch_size": 2, "dry_run": False, **how})


def test_encoding_ahead_leaves_nothing_to_encode(recipe, filled, caplog):
    caplog.set_level(logging.INFO)
    path = recipe("kept")
    encode(path)
    assert "sslam: about" in caplog.text
    assert caplog.text.count("6 clips are there") == 3
    filled.clear()
    encode(path)  # what is there is passed over
    train(path, "run")
    assert not filled


@pytest.mark.slow
def test_two_processes_share_the_clips_and_one_tells_the_bytes(recipe, tmp_path):
    meeting = Rendezvous(2)
    path = recipe("kept", clips=22)
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "pal_plugin", "data", "encode", path, "--batch-size", "1"],
            env={**os.environ, **{k: str(v) for k, v in meeting.environ(rank).items()}},
            cwd=tmp_path,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    first, second = (process.communicate(timeout=300)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0], first + second
    assert "sslam: about" in first
    assert first.count("22 clips are there") == 3
    assert "about" not in second
    shards = list((tmp_path / "cache").rglob("sslam-*/*.safetensors"))
    assert len(shards) == 3  # of the sizes and of each process


def test_encoding_ahead_makes_every_variant(recipe, filled, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    settings = "{variants: 3, dtype: half}"
    path = recipe("varied", settings, datasets=AUGMENTED)
    encode(path)
    assert caplog.text.count("14 clips are there") == 3  # 4 to train on in 3 variants, and 2


def test_more_than_the_limit_is_refused_before_it_is_made(recipe, filled, tmp_path):
    path = recipe("small", "{limit_gb: 1.0e-4}")
    with pytest.raises(encoding.ConfigError, match=r"limit_gb=0\.0001 allows"):
        encode(path)
    assert len(filled) == 3 * 2  # the first clips of each split


def test_a_dry_run_tells_the_bytes_and_ends(recipe, filled, caplog):
    caplog.set_level(logging.INFO)
    encode(recipe("kept"), dry_run=True)
    assert "clap: about" in caplog.text
    assert "are there" not in caplog.text


def test_a_recipe_without_a_cache_says_how_to_ask_for_one(recipe):
    with pytest.raises(encoding.ConfigError, match=r"model\.encoders\.sslam\.cache=true"):
        encode(recipe("plain", cache="null"))


def test_augmented_clips_need_a_number_of_variants(recipe):
    with pytest.raises(encoding.ConfigError, match="variants: 4"):
        encode(recipe("varied", datasets=AUGMENTED))
