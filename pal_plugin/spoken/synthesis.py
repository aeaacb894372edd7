"""Speech out of text by espeak-ng, an optional program that the package does not contain."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pal_plugin.utils.errors import ConfigError

PROGRAM = Path(__file__).with_name("espeak.py")


@dataclass(frozen=True)
class Utterance:
    """What is said and how.

    Attributes:
        text: words in lower case.
        voice: espeak-ng's name of an accent and a variant: "en-us+Alex".
        words_per_minute: speed.
        pitch: 0 to 99; 50 is the voice's own.
        pitch_range: 0 (monotonous) to 99; 50 is the voice's own.
    """

    text: str
    voice: str
    words_per_minute: int
    pitch: int
    pitch_range: int


def check_installed() -> None:
    """Raise a ConfigError that says how to get espeak-ng, where it is not there."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ConfigError(
            "speech is made by espeak-ng, which is not installed: pip install espeakng-loader"
        )


def speak(utterances: Sequence[Utterance]) -> tuple[list[np.ndarray], int]:
    """Samples `[S]` int16 of each utterance, and their rate in Hz.

    All are said by one fresh process, one after the other: the same list, the same samples.

    Raises:
        ConfigError: espeak-ng is not installed.
        RuntimeError: it failed; with its message.
    """
    check_installed()
    request = json.dumps([asdict(utterance) for utterance in utterances])
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], input=request.encode(), capture_output=True, check=False
    )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"espeak-ng ended with status {done.returncode}: {message}")
    head = 4 * (len(utterances) + 1)
    rate_hz, *lengths = np.frombuffer(done.stdout[:head], np.uint32).tolist()
    samples = np.frombuffer(done.stdout[head:], np.int16)
    return np.split(samples, np.cumsum(lengths)[:-1]), rate_hz
