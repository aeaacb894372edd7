"""Shards: complete, reusable, the same with any number of workers."""

import io
import json
import logging
import tarfile

import numpy as np
import pytest
import soundfile
import webdataset

from pal_plugin.soundworld import ensure_shards, render, shards, split_scene


def contents(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_clips_are_the_scenes_and_webdataset_reads_them(tmp_path):
    (path,) = ensure_shards(tmp_path, "val", 5, seed=2, progress=False)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert len(samples) == 5
    for index, sample in enumerate(samples):
        record = json.loads(sample["json"])
        wave, rate_hz = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        scene, _ = split_scene("val", 2, index)
        assert rate_hz == 16000
        assert np.abs(wave - render(scene)).max() < 2 / 32768
        assert record["id"] == sample["__key__"]
        assert (record["split"], record["label"]) == ("val", scene.label)
        assert record["seconds"] == pytest.approx(len(wave) / rate_hz)
        assert [e["kind"] for e in record["events"]] == [e.kind for e in scene.events]
        assert len(record["items"]) >= 4


def test_workers_do_not_change_the_clips_and_shards_are_reused(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    two = ensure_shards(tmp_path / "two", "train", 105, workers=2)
    assert "105 of 105 clips" in caplog.text
    assert [path.name for path in two] == ["train-00000.tar", "train-00001.tar"]
    assert len(contents(two[1])) == 10
    job = shards.shard_jobs(tmp_path / "one", "train", 105, 0)[1]
    one = shards.write_shard(job, lambda clips: None)
    assert one.read_bytes() == two[1].read_bytes()

    before = [path.stat().st_mtime_ns for path in two]
    two[1].unlink()
    again = ensure_shards(tmp_path / "two", "train", 105, workers=1, progress=False)
    assert again == two
    assert again[0].stat().st_mtime_ns == before[0]
    assert again[1].read_bytes() == one.read_bytes()
    assert not list(two[0].parent.glob(".*"))


def test_another_parameter_is_another_folder(tmp_path, monkeypatch):
    folders = {
        shards.shard_folder(tmp_path, *parameters)
        for parameters in (("train", 5, 0), ("train", 6, 0), ("train", 5, 1), ("val", 5, 0))
    }
    monkeypatch.setattr(shards, "VERSION", shards.VERSION + 1)
    folders.add(shards.shard_folder(tmp_path, "train", 5, 0))
    assert len(folders) == 5


def test_a_shard_cut_short_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(split, seed, index):
        raise OSError("disk full")

    monkeypatch.setattr(shards, "clip_record", broken)
    with pytest.raises(OSError, match="disk full"):
        ensure_shards(tmp_path, "train", 3, progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_failing_worker_is_an_error_with_its_message(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RuntimeError, match=r"NotADirectoryError|FileExistsError"):
        ensure_shards(tmp_path / "file", "train", 101, workers=2, progress=False)


def test_wrong_arguments_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        ensure_shards(tmp_path, "dev", 3)
    with pytest.raises(ValueError, match="at least 1 clip"):
        ensure_shards(tmp_path, "train", 0)
