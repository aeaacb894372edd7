"""A folder of made clips is complete when its index is there, and not before."""

import io
import json
import tarfile

import pytest

from pal_plugin.utils.made_clips import INDEX, add_clip, is_made, make


def write(job, tick):
    if job.get("fails"):
        raise ValueError("no clip")
    (job["folder"] / job["name"]).write_bytes(b"clip")
    tick(1)


def made(folder, *jobs):
    more = {"clips": len(jobs), "label": "test", "workers": 1, "progress": False}
    make(write, [{"folder": folder, **job} for job in jobs], folder, {"seed": 3}, **more)


def test_the_index_comes_last(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(Exception, match="no clip"):
        made(tmp_path, {"name": "a"}, {"name": "b", "fails": True})
    assert not (tmp_path / INDEX).exists()
    made(tmp_path, {"name": "a"}, {"name": "b"})
    assert json.loads((tmp_path / INDEX).read_text()) == {"seed": 3}
    assert is_made(paths)
    paths[1].unlink()
    assert not is_made(paths)


def test_a_clip_is_its_audio_and_its_record():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        add_clip(tar, b"audio", {"id": "val_0", "seconds": 1.5})
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        read = {member.name: tar.extractfile(member).read() for member in tar}
    assert read == {"val_0.flac": b"audio", "val_0.json": b'{"id":"val_0","seconds":1.5}'}
