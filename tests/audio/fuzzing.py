"""Broken files: `python fuzzing.py FOLDER FIRST COUNT` damages the files of a folder, each with a
seed of its own, and prints one line for whatever decodes neither to samples nor to an AudioError.

It runs in a process of its own, with its memory limited, since a decoder in C may take it down; the
last line of its output is then the seed at which that happened.
"""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path

import numpy as np

from pal_plugin.audio.decoding import AudioError, decode

MEMORY_BYTES = 3 * 2**30
_HEAD = 128  # bytes in which most lengths stand


def damaged(files: list[bytes], seed: int) -> bytes:
    """One file with flipped, overwritten, missing, repeated or foreign bytes."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(6)
        end = min(len(data), _HEAD) if rng.random() < 0.6 else len(data)
        at = rng.randrange(max(1, end))
        if kind == 0:
            for _ in range(rng.choice((1, 2, 8, 32))):
                place = rng.randrange(max(1, end))
                data[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"))
        elif kind == 2:
            del data[rng.randrange(len(data) + 1) :]
        elif kind == 3:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            data[at:at] = data[: rng.randrange(1, 4096)]
        else:
            data += rng.choice(files)
    return bytes(data)


def fault(data: bytes) -> str | None:
    """What decoding did that it must not."""
    try:
        samples, rate_hz, channels = decode(data)
    except AudioError:
        return None
    except BaseException as error:  # whatever it is, it would have ended a run
        return f"{type(error).__name__}: {error}"
    whole = samples.dtype == np.float32 and samples.ndim == 1 and len(samples) > 0
    if whole and np.isfinite(samples).all() and rate_hz > 0 and channels > 0:
        return None
    return f"{samples.dtype} {samples.shape} at {rate_hz} Hz"


def main(folder: str, first: int, count: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable()
    files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    for seed in range(first, first + count):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        if found := fault(damaged(files, seed)):
            print(f"seed {seed}: {found}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
