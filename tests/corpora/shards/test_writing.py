"""Names within a tar, and what a process that writes one imports."""

import json
import subprocess
import sys
import tarfile

import pytest

from pal_plugin.corpora.shards.writing import safe_keys

from ..conftest import clip_bytes


def test_keys_are_unique_whatever_the_case():
    keys = safe_keys(["a_b", "A_b", "a b", "", "...", "plain"])
    assert len({key.lower() for key in keys}) == 6
    assert keys[0] == "a_b"
    assert keys[5] == "plain"
    assert all(keys)


PROGRAM = """
import json, sys
from pal_plugin.corpora.shards.writing import write_shard
write_shard(json.loads(sys.argv[1]), lambda n: None)
assert not {"torch", "transformers", "webdataset"} & set(sys.modules)
"""


@pytest.mark.parametrize("form", ["keep", "flac", "ogg"])
def test_a_shard_is_written_without_torch(tmp_path, form):
    (tmp_path / "clip.wav").write_bytes(clip_bytes())
    clip = {"key": "clip", "id": "clip", "file": "clip.wav", "items": [], "facts": {}}
    job = {"path": str(tmp_path / "a.tar"), "digest": "", "audio": str(tmp_path), "format": form}
    job.update(rate_hz=None, min_seconds=0.0, clips=[clip])
    subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(job)],
        check=True,
    )
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert len(tar.getnames()) == 2
