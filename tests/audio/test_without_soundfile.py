"""Arrays are heard where no file can be decoded: GPU machines often come without libsndfile."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["soundfile"] = None  # what an absent package looks like

import numpy as np
from pal_plugin.audio.io import load_audio, resample
from pal_plugin.soundworld import text_corpus

waveform, rate_hz = load_audio((np.ones(800, dtype=np.float32), 8000))
assert len(resample(waveform, rate_hz, 16000)) == 1600
assert next(iter(text_corpus(0)))
try:
    load_audio(b"RIFF")
except ImportError as error:
    print(error)
"""


def test_arrays_need_no_soundfile():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "soundfile" in done.stdout
