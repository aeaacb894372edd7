"""Both sides speak in lengths and bytes, and notice what is cut off."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from scripted import tone

from pal_plugin.audio.decoding import decode
from pal_plugin.hosts.server.decoding_worker import (
    LENGTH,
    MEMORY_BYTES,
    read_message,
    write_message,
)


def test_messages_come_as_they_were_sent():
    file = io.BytesIO()
    write_message(file, b"one")
    write_message(file, b"")
    write_message(file, memoryview(b"three"))
    file.seek(0)
    assert [read_message(file) for _ in range(3)] == [b"one", b"", b"three"]
    with pytest.raises(EOFError):
        read_message(file)


@pytest.mark.parametrize("data", [b"1234", LENGTH.pack(5) + b"1234", LENGTH.pack(MEMORY_BYTES + 1)])
def test_what_is_cut_off_or_endless_is_the_end(data):
    with pytest.raises(EOFError):
        read_message(io.BytesIO(data))


def test_a_worker_answers_each_clip_and_ends_with_its_input():
    asked = io.BytesIO()
    clip = tone(form="FLAC", channels=2)
    write_message(asked, b"nix")
    write_message(asked, clip)
    module = "pal_plugin.hosts.server.decoding_worker"
    done = subprocess.run([sys.executable, "-m", module], input=asked.getvalue(), stdout=-1)
    assert done.returncode == 0
    answers = io.BytesIO(done.stdout)
    assert "cannot decode" in json.loads(read_message(answers))["error"]
    samples, rate_hz, _ = decode(clip)
    assert json.loads(read_message(answers)) == {"rate_hz": rate_hz}
    assert np.array_equal(np.frombuffer(read_message(answers), np.float32), samples)
    assert answers.read() == b""
