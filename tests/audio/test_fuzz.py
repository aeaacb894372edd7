"""Whatever bytes a file holds, decoding ends in samples or in an AudioError."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from made_files import FFMPEG, SNDFILE, by_ffmpeg, by_sndfile

SCRIPT = Path(__file__).with_name("fuzzing.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    for container, subtype in SNDFILE:
        (made / f"{container}_{subtype}").write_bytes(by_sndfile(container, subtype))
    if importlib.util.find_spec("av"):
        scratch = tmp_path_factory.mktemp("scratch")
        for container, codec in FFMPEG:
            (made / f"{container}_{codec}").write_bytes(by_ffmpeg(scratch, container, codec))
    return made


def check(folder: Path, first: int, count: int) -> None:
    """In a process of its own with 3 GiB, which a decoder in C may take down."""
    call = [sys.executable, SCRIPT, folder, str(first), str(count)]
    done = subprocess.run(call, capture_output=True, text=True, errors="replace")
    assert not done.stdout, done.stdout
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    assert done.stderr.count("seed ") == count


def test_two_hundred_broken_files(folder):
    check(folder, 0, 200)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_thousands_of_broken_files(folder, part):
    check(folder, 1000 + 5000 * part, 5000)
