"""`pal data encode`: what training would encode is there, and told before it is made."""

import logging
import os
import re
import subprocess
import sys

import cli
import pytest
import torch
from processes import Rendezvous
from safetensors.torch import load_file

from pal_plugin.commands.main import main
from pal_plugin.config.run_config import load_config
from pal_plugin.training import encoding
from pal_plugin.utils.locations import POCKET

AUGMENTED = """
  pal_mini:
    build_info: {{audio: {{storage: '{folder}'}}, annotations: '{folder}/clips.csv'}}
    domains:
      digits: null
      digits_unseen_speaker: null
      instruments: null
      esc10: {{domain: tones}}
"""


def encode(path, *options, **how):
    encoding.encode(load_config(path, list(options)), **{"batch_size": 2, "dry_run": False, **how})


@pytest.mark.slow
def test_encoding_ahead_leaves_nothing_to_encode(recipe, filled, caplog):
    caplog.set_level(logging.INFO)
    path = recipe("kept")
    encode(path)
    assert "sslam: about" in caplog.text
    assert caplog.text.count("6 clips cached") == 3
    filled.clear()
    encode(path)  # what is there is passed over
    assert cli.train(["--cfg-path", path, "--job-id", "run"]) == 0
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
    assert first.count("22 clips cached") == 3
    assert "about" not in second
    shards = list((tmp_path / "cache").rglob("sslam-*/*.safetensors"))
    assert len(shards) == 3  # of the sizes and of each process


def test_encoding_ahead_makes_every_variant(recipe, filled, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    settings = "{variants: 3, dtype: half}"
    path = recipe("varied", settings, datasets=AUGMENTED)
    encode(path)
    assert caplog.text.count("14 clips cached") == 3  # 4 to train on in 3 variants, and 2


def test_more_than_the_limit_is_refused_before_it_is_made(recipe, filled, tmp_path):
    path = recipe("small", "{limit_gb: 1.0e-4}")
    with pytest.raises(encoding.ConfigError, match=r"limit_gb=0\.0001: raise"):
        encode(path)
    assert len(filled) == 3 * 2  # the first clips of each split


def test_a_dry_run_tells_the_bytes_and_ends(recipe, filled, caplog):
    caplog.set_level(logging.INFO)
    encode(recipe("kept"), dry_run=True)
    assert "clap: about" in caplog.text
    assert "clips cached\n" not in caplog.text


def only_sslam(checkpoint):
    """Options: one cached encoder, the quickest, with these weights."""
    others = [f"model.encoders.{name}.cache=null" for name in ("clap", "whisper")]
    return [*others, f"model.encoders.sslam.checkpoint={checkpoint}"]


@pytest.mark.slow
def test_encoders_of_the_package_are_those_of_the_run(recipe, filled, tmp_path, capsys):
    """`pocket://` weights, by the command: they encode, and a file's path finds the same states."""
    path, packed = recipe("pocket"), "pocket://sslam.safetensors"
    command = ["data", "encode", path, "--batch-size", "2", "--options"]
    assert main([*command, *only_sslam(packed), "model.checkpoint=pocket://lal.safetensors"]) == 0
    assert filled
    assert set(filled) == {"sslam"}
    model = encoding.Encoders(load_config(path, only_sslam(packed)))
    weights, stored = model.encoders["sslam"].state_dict(), load_file(POCKET / "sslam.safetensors")
    assert all(torch.equal(weights[name], stored[name]) for name in stored)
    (folder,) = (tmp_path / "cache" / "encoder_states").iterdir()
    filled.clear()
    assert main([*command, *only_sslam(POCKET / "sslam.safetensors")]) == 0
    assert not filled
    (cache,) = model.caches.values()
    assert len(cache.open(model.encoders["sslam"], model.frontend.features["sslam"])) == 6
    assert cache.shards.folder == folder
    assert main([*command, *only_sslam("pocket://nothing")]) == 2
    assert "has no pocket weights 'pocket://nothing'" in capsys.readouterr().err


TALKS = """
  pal_soundworld_talks:
    build_info: {{storage: '{folder}', clips: {{train: 4, val: 8, test: 0}}, workers: 1}}
"""


@pytest.mark.slow
def test_all_clips_of_conversations_count(recipe, filled, caplog):
    """Two or three each: 9 of four in turn."""
    caplog.set_level(logging.INFO)
    encode(recipe("talks", datasets=TALKS), dry_run=True)
    assert "this run has 27 clips (variants included), up to" in caplog.text
    assert re.search(r"sslam: about .* for 27 clips \(variants included\)", caplog.text)


def test_a_recipe_without_a_cache_says_how_to_ask_for_one(recipe):
    with pytest.raises(encoding.ConfigError, match=r"model\.encoders\.sslam\.cache=true"):
        encode(recipe("plain", cache="null"))


def test_augmented_clips_need_a_number_of_variants(recipe):
    with pytest.raises(encoding.ConfigError, match="variants: 4"):
        encode(recipe("varied", datasets=AUGMENTED))
