"""Text-to-speech by espeak-ng, an optional dependency."""

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
    """One utterance.

    Attributes:
        text: lower-case words.
        voice: espeak-ng's name of accent and variant, such as "en-us+Alex".
        words_per_minute: speaking rate.
        pitch: 0 to 99; 50 is the voice's default.
        pitch_range: 0 (monotonous) to 99; 50 is the voice's default.
    """

    text: str
    voice: str
    words_per_minute: int
    pitch: int
    pitch_range: int


def check_installed() -> None:
    """Raises ConfigError with install instructions if espeak-ng is missing."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ConfigError(
            "speech synthesis needs espeak-ng, which is not installed: pip install espeakng-loader"
        )


def speak(utterances: Sequence[Utterance]) -> tuple[list[np.ndarray], int]:
    """Int16 samples `[S]` of each utterance, and their sampling rate in Hz.

    One fresh process synthesizes all of them in order, so the same list gives the same samples.

    Raises:
        ConfigError: if espeak-ng is not installed.
        RuntimeError: if it fails; with its message.
    """
    check_installed()
    request = json.dumps([asdict(utterance) for utterance in utterances])
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], input=request.encode(), capture_output=True, check=False
    )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"espeak-ng exited with code {done.returncode}: {message}")
    head = 4 * (len(utterances) + 1)
    rate_hz, *lengths = np.frombuffer(done.stdout[:head], np.uint32).tolist()
    samples = np.frombuffer(done.stdout[head:], np.int16)
    return np.split(samples, np.cumsum(lengths)[:-1]), rate_hz
