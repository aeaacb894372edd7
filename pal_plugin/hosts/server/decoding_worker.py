"""The process that decodes clips for `decoding.Decoder`: `python -m ...`, clips on standard input.

Files of strangers reach C libraries here, where a crash or a flood of memory ends this process and
not the server. Both sides speak in lengths and bytes; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import BinaryIO

LENGTH = struct.Struct("<Q")
#: Address space of the process: ten minutes of stereo at 192 kHz decode in a third of it.
MEMORY_BYTES = 4 << 30


def read_message(file: BinaryIO) -> bytearray:
    """One message.

    Raises:
        EOFError: the other side has ended, or speaks otherwise.
    """
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size or LENGTH.unpack(head)[0] > MEMORY_BYTES:
        raise EOFError
    data = bytearray(LENGTH.unpack(head)[0])
    if file.readinto(data) < len(data):
        raise EOFError
    return data


def write_message(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write one message."""
    file.write(LENGTH.pack(len(data)))
    file.write(data)
    file.flush()


def main() -> None:
    """Answer each clip by a message of JSON, `rate_hz` or `error`, and one of float32 samples."""
    from pal_plugin.audio.decoding import decode
    from pal_plugin.audio.errors import AudioError

    clips = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    _limit_memory()
    while True:
        try:
            data = read_message(clips)
        except EOFError:
            return
        try:
            samples, rate_hz, _ = decode(data)
        except AudioError as error:
            reason = str(error)
            if isinstance(error.__cause__, MemoryError):
                reason = f"decoding a clip of {len(data)} bytes takes too much memory; shorten it"
            write_message(answers, json.dumps({"error": reason}).encode())
            continue
        write_message(answers, json.dumps({"rate_hz": rate_hz}).encode())
        write_message(answers, memoryview(samples).cast("B"))


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, OSError, ValueError):  # not on this system
        return


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)
