"""Standalone program for synthesis: reads utterances as JSON from stdin, writes samples to stdout.

Design choice: a separate program, restarted for every shard. espeak-ng's output for an utterance
depends on what the process said before, so only the same sequence in a fresh process gives the same
audio; the noise of breathy voices is seeded as well. It does not import the package and is started
by its path, so that it starts quickly.

Input: a JSON list of `{"text", "voice", "words_per_minute", "pitch", "pitch_range"}`. Output: the
sampling rate in Hz, then each utterance's number of samples (unsigned 32 bits), then all samples
(16 bits), in native byte order.
"""

from __future__ import annotations

import array
import ctypes
import json
import sys

# Constants of speak_lib.h
_RETRIEVE_AUDIO, _CHARS_UTF8, _POSITION_CHARACTER = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_SEED = 1


class Speaker:
    """espeak-ng in this process; only one instance at a time."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._samples = array.array("h")
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._take)  # the library keeps no reference to it
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = self._library.espeak_Initialize(_RETRIEVE_AUDIO, 0, data, 0)
        if self.rate_hz <= 0:
            raise RuntimeError(f"espeak-ng cannot start with data folder {data.decode()}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: object, count: int, events: object) -> int:
        if count > 0:
            self._samples.frombytes(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, utterance: dict) -> array.array:
        """The samples of one utterance, 16 bits each.

        Raises:
            RuntimeError: if the voice is unknown. Unknown variants are not detected.
        """
        if self._library.espeak_SetVoiceByName(utterance["voice"].encode()):
            raise RuntimeError(f"espeak-ng has no voice {utterance['voice']!r}")
        for number, name in (
            (_RATE, "words_per_minute"),
            (_PITCH, "pitch"),
            (_RANGE, "pitch_range"),
        ):
            self._library.espeak_SetParameter(number, utterance[name], 0)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # breathy voices use noise
        text = utterance["text"].encode()
        self._samples = array.array("h")
        self._library.espeak_Synth(
            ctypes.c_char_p(text),
            ctypes.c_size_t(len(text) + 1),
            ctypes.c_uint(0),
            _POSITION_CHARACTER,
            ctypes.c_uint(0),
            ctypes.c_uint(_CHARS_UTF8),
            None,
            None,
        )
        return self._samples


def main() -> None:
    """Entry point of the synthesis process: JSON utterances in, samples out."""
    utterances = json.load(sys.stdin)
    speaker, out = Speaker(), sys.stdout.buffer
    said = [speaker.say(utterance) for utterance in utterances]
    array.array("I", [speaker.rate_hz, *map(len, said)]).tofile(out)
    for samples in said:
        samples.tofile(out)


if __name__ == "__main__":
    main()
