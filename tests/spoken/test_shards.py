"""Shards: complete, reusable, each by itself the same."""

import io
import json
import logging
import tarfile
from dataclasses import replace

import pytest
import soundfile
import torch

from pal_plugin.spoken import shards, texts
from pal_plugin.spoken.settings import Settings, default_build_info
from pal_plugin.spoken.shards import ensure_shards
from pal_plugin.utils.errors import ConfigError

VAL = Settings.of_split(default_build_info(), "val")
TRAIN = Settings.of_split(default_build_info(), "train")


def contents(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_a_shard_holds_audio_and_what_is_known_of_it(tmp_path):
    (path,) = ensure_shards(tmp_path, "val", 6, 0, VAL, progress=False)
    files = contents(path)
    assert len(files) == 12
    kinds = set()
    for name, data in files.items():
        if not name.endswith(".json"):
            continue
        record = json.loads(data)
        wave, rate_hz = soundfile.read(io.BytesIO(files[name.replace(".json", ".flac")]))
        assert rate_hz == 16000
        assert record["id"] == name.removesuffix(".json")
        assert record["seconds"] == pytest.approx(len(wave) / rate_hz)
        assert record["items"][0]["answer"] == record["text"]
        assert 0.003 < abs(wave).max() < 1
        kinds.add(record["kind"])
    assert "sentence" in kinds
    index = json.loads((path.parent / "index.json").read_text())
    assert index["shards"] == [path.name]
    assert index["synthesiser"].startswith("espeakng-loader 0.")
    assert index["texts"] == texts.digest()


def test_a_job_may_go_to_another_process_and_shards_are_reused(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(shards, "SHARD_CLIPS", 3)
    two = ensure_shards(tmp_path / "two", "train", 4, 0, TRAIN, workers=1)
    assert "4 of 4 clips" in caplog.text
    job = shards.shard_jobs(tmp_path / "one", "train", 4, 0, TRAIN)[1]
    shards.write_shard(json.loads(json.dumps(job)), lambda clips: None)  # as a worker gets it
    first = two[1].read_bytes()
    assert (
        shards.shard_folder(tmp_path / "one", "train", 4, 0, TRAIN)
        .joinpath(two[1].name)
        .read_bytes()
        == first
    )
    assert len(contents(two[1])) == 2

    kept = two[0].stat().st_mtime_ns
    two[1].unlink()
    assert ensure_shards(tmp_path / "two", "train", 4, 0, TRAIN, 1, progress=False) == two
    assert (two[0].stat().st_mtime_ns, two[1].read_bytes()) == (kept, first)
    monkeypatch.setattr(shards, "check_installed", lambda: pytest.fail("nothing is left to make"))
    assert ensure_shards(tmp_path / "two", "train", 4, 0, TRAIN, 1, progress=False) == two


def test_a_clip_does_not_depend_on_the_cores():
    rough = replace(TRAIN, noise=1.0, reverb=1.0)
    alone = [audio for _, audio, _ in shards.rendered("train", 0, 0, 12, rough)]
    torch.set_num_threads(4)
    try:
        several = [audio for _, audio, _ in shards.rendered("train", 0, 0, 12, rough)]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)
    assert several == alone


def test_another_setting_is_another_folder(tmp_path, monkeypatch):
    given = [("train", 5, 0, TRAIN), ("train", 6, 0, TRAIN), ("train", 5, 1, TRAIN)]
    given += [("val", 5, 0, VAL), ("train", 5, 0, replace(TRAIN, noise=0.4))]
    folders = {shards.shard_folder(tmp_path, *each) for each in given}
    monkeypatch.setattr(shards, "digest", lambda: "other sentences")
    folders.add(shards.shard_folder(tmp_path, "train", 5, 0, TRAIN))
    assert len(folders) == 6


def test_a_shard_cut_short_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "facts", lambda clip: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ensure_shards(tmp_path, "val", 2, 0, VAL, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_no_clips_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1 clip in val"):
        ensure_shards(tmp_path, "val", 0, 0, VAL)
