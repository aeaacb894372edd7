"""Clips in every state that public data come in, and a folder of a user's own with them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pal_plugin.commands.main import main
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.utils.files import file_sha256

RATE_HZ = 16000
SHARED = Path(__file__).parents[3] / "shared" / "data"


def clip_bytes(form="WAV", seconds=0.3, channels=1, pitch_hz=440.0, **options):
    time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    samples = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s)
    file = io.BytesIO()
    if channels > 1:
        samples = np.stack([samples / (n + 1) for n in range(channels)], axis=1)
    soundfile.write(file, samples, RATE_HZ, format=form, **options)
    return file.getvalue()


def with_nan():
    samples = np.zeros(4000, np.float32)
    samples[100] = np.nan
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="FLOAT")
    return file.getvalue()


def half(form):
    data = clip_bytes(form, seconds=2.0)
    return data[: len(data) // 2]


#: File name to bytes; none of these can be used.
BROKEN = {
    "half.flac": half("FLAC"),
    "half.wav": half("WAV"),
    "half.ogg": half("OGG"),
    "half.mp3": half("MP3"),
    "empty.wav": b"",
    "text.wav": b"this is no audio at all, whatever its name says",
    "nan.wav": with_nan(),
}


@pytest.fixture
def write_own(tmp_path):
    """write_own({file: bytes or None}) -> (folder, JSON lines); None is named and not there."""

    def write(files, name="own"):
        folder = tmp_path / f"{name}-audio"
        folder.mkdir()
        rows = []
        for number, (file, data) in enumerate(files.items()):
            rows.append({"audio": file, "label": f"kind {number % 3}"})
            if data is not None:
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        annotations = tmp_path / f"{name}.jsonl"
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        annotations.write_text(text, "utf-8")
        return folder, annotations

    return write


@pytest.fixture
def read(tmp_path):
    """read(dataset, {file: text or object}, audio=[names]) -> Corpus"""

    def make(dataset, files, audio=(), where=None):
        folder = tmp_path / "audio"
        folder.mkdir(exist_ok=True)
        for name in audio:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")
        paths = []
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text, "utf-8")
            paths.append(tmp_path / name)
        return read_corpus(dataset, paths, AudioFolder(folder), where)

    return make


def found(corpus, tmp_path):
    folder = AudioFolder(tmp_path / "audio")
    return [folder.find(record.audio, *record.others)[0] for record in corpus.records]


@pytest.fixture
def good():
    """Seven clips of different pitch, so that no two have the same bytes."""
    return {f"c{n}.wav": clip_bytes(pitch_hz=300 + 50 * n) for n in range(7)}


@pytest.fixture(scope="session")
def shared():
    """The development data; skips where they are not."""
    if not SHARED.is_dir():
        pytest.skip(f"the development data are not at {SHARED}")
    return SHARED


@pytest.fixture
def shards(write_own, good, tmp_path, capsys):
    folder, annotations = write_own(good)
    code = main(
        [
            "data",
            "convert",
            "own",
            "--audio",
            str(folder),
            "--annotations",
            str(annotations),
            "--out",
            str(tmp_path / "out"),
            "--shard-size",
            "4",
            "--workers",
            "1",
        ]
    )
    assert code == 0
    assert "7 clips" in capsys.readouterr().out
    return tmp_path / "out"


def rewrite(shards, change):
    """Change the members of the first tar; `change({name: bytes})` returns the new ones."""
    path = next(shards.glob("*-00000.tar"))
    with tarfile.open(path) as tar:
        inside = {m.name: tar.extractfile(m).read() for m in tar}
    with tarfile.open(path, "w") as tar:
        for name, data in change(inside).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    index = json.loads((shards / "index.json").read_text())
    index["shards"][0]["sha256"] = file_sha256(path)  # so that only the clips tell
    (shards / "index.json").write_text(json.dumps(index))
