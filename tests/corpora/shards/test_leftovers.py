"""What macOS packs beside the files (`._clip.wav`, `.DS_Store`, `__MACOSX`) is no clip."""

import io
import json
import tarfile

import numpy as np
import soundfile

from pal_plugin.corpora.shards.reading import parts, read_shard


def test_leftovers_in_folders_of_a_tar_are_passed_over(tmp_path):
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(800, np.float32), 16000, format="WAV")
    facts = json.dumps({"items": []}).encode()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in {
            ".DS_Store": b"x",
            "d/.DS_Store": b"x",
            "__MACOSX/d/._c0.wav": b"x",
            "d/._c0.wav": b"x",
            "d/c0.wav": sound.getvalue(),
            "d/._c0.json": b"x",
            "d/c0.json": facts,
            "./d/._c1.wav": b"x",
            "d/c1.wav": sound.getvalue(),
            "d/c1.json": facts,
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    raw = list(read_shard(str(tmp_path / "a.tar")))
    assert [sample["__key__"] for sample in raw] == ["d/c0", "d/c1"]
    assert [parts(sample)[0] for sample in raw] == [sound.getvalue()] * 2
