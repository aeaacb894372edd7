"""Archives as GitHub makes them, small ones, and a server that has them."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import soundfile
from servers import serving

from pal_plugin.corpora.fetching import esc10, fsdd
from pal_plugin.corpora.fetching.fetch import SOURCES


def samples(seed, count=2400):
    return np.random.default_rng(seed).integers(-9000, 9000, count).astype("<i2")


def encoded(values, rate_hz=8000, form="WAV"):
    file = io.BytesIO()
    soundfile.write(file, values, rate_hz, format=form)
    return file.getvalue()


ESC10_CLIPS = {
    path: encoded(samples(number), 44100, "OGG")
    for number, path in enumerate(
        (
            *("001 - Dog bark/1-100-A.ogg", "009 - Rooster/4-2000-B.ogg"),
            *("002 - Rain/5-300-A.ogg", "010 - Fire crackling/5-400-C.ogg"),
        )
    )
}
FSDD_SAMPLES = {
    name: samples(9 + number, 2000 + number)
    for number, name in enumerate(("0_george_0", "0_george_10", "7_nicolas_3", "1_theo_0"))
}
FSDD_CLIPS = {f"recordings/{name}.wav": encoded(of) for name, of in FSDD_SAMPLES.items()}


def esc10_row(path):
    sha256 = hashlib.sha256(ESC10_CLIPS[path]).hexdigest()
    made = {"licence": "CC0", "author": "somebody", "title": "a title, with a comma.wav"}
    return {"path": path, "sha256": sha256, **made, "url": "http://www.freesound.org/1/"}


TABLES = {
    "esc10.csv": [esc10_row(path) for path in ESC10_CLIPS if "/5-" not in path],
    "fsdd.csv": [
        {"clip": name, "sha256": hashlib.sha256(of.tobytes()).hexdigest()}
        for name, of in FSDD_SAMPLES.items()
        if "theo" not in name
    ],
}
CLIPS = {"esc10": ESC10_CLIPS, "fsdd": FSDD_CLIPS}


@pytest.fixture
def small(monkeypatch):
    """The sources know the clips above only."""
    for module in (esc10, fsdd):
        monkeypatch.setattr(module, "read_table", TABLES.get)


def zipped(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def github(small, monkeypatch):
    """A server; `github.put("esc10", clips, others)` places the archive there: clips below its
    folder, others as they are named."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:

        def put(name, clips=None, others=None):
            source = SOURCES[name]
            clips = CLIPS[name] if clips is None else clips
            files = {f"{source.top}/{path}": data for path, data in clips.items()}
            path = source.url(served.url).removeprefix(served.url)
            served.files[path] = zipped(
                {f"{source.top}/README.md": b"x", **files, **(others or {})}
            )
            return path

        served.put = put
        for name in CLIPS:
            put(name)
        monkeypatch.setenv("PAL_GITHUB", served.url)
        yield served
