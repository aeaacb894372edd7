"""Tiny tar shards and clips on disk."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

RATE_HZ = 16000


def audio_bytes(seconds=0.1, form="FLAC"):
    file = io.BytesIO()
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * 440 * time_s), RATE_HZ, format=form)
    return file.getvalue()


def items_of(label):
    return [
        {"task": t, "question_type": q, "question": f" {q} ? ", "answer": a, "answers": [a]}
        for t, q, a in (
            ("classification", "kind", label),
            ("qa", "count", "1"),
            ("qa", "present", "yes"),
            ("qa", "present", "no"),
            ("caption", "caption", f"a {label}"),
        )
    ]


@pytest.fixture
def make_shard(tmp_path):
    """make_shard(name, {key: bytes, or None for broken audio}) -> path of the tar."""

    def make(name, clips):
        path = tmp_path / name
        with tarfile.open(path, "w") as tar:
            for key, audio in clips.items():
                audio = b"not audio at all" if audio is None else audio
                facts = json.dumps({"id": key, "items": items_of("bell")}).encode()
                for file, data in ((f"{key}.flac", audio), (f"{key}.json", facts)):
                    info = tarfile.TarInfo(file)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return path

    return make


@pytest.fixture
def make_clips(tmp_path):
    """make_clips({file name: label}) writes a folder of clips and an ESC-50 CSV; returns both."""

    def make(labels, columns=("filename", "category")):
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        lines = [f"{columns[0]},fold,target,{columns[1]},esc10"]
        for number, (name, label) in enumerate(labels.items()):
            (folder / name).write_bytes(audio_bytes(form="WAV"))
            lines.append(f"{name},{number % 2 + 1},0,{label},True")
        (tmp_path / "esc.csv").write_text("\n".join(lines) + "\n")
        return folder, tmp_path / "esc.csv"

    return make


@pytest.fixture
def clip_audio():
    return audio_bytes()
