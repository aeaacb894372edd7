"""The program that speaks: its format, and that it stands alone."""

import array
import json
import subprocess
import sys

from pal_plugin.spoken.synthesis import PROGRAM

ONE = {"text": "no", "voice": "en-us+Alex", "words_per_minute": 170, "pitch": 50, "pitch_range": 50}


def test_lengths_then_samples():
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps([ONE, {**ONE, "text": "yes"}]).encode(),
        capture_output=True,
        check=True,
    )
    rate_hz, *lengths = array.array("I", done.stdout[:12])
    assert rate_hz == 22050
    assert min(lengths) > 2000
    assert len(done.stdout) == 12 + 2 * sum(lengths)


def test_it_imports_nothing_of_the_package():
    assert "pal_plugin" not in PROGRAM.read_text("utf-8")
