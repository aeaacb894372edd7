"""WAV, RF64, AIFF and AU files whose writer could not update the length in the header.

Programs that write to a pipe leave a size of 0, and libsndfile then reads nothing. A size that
means "unknown" makes it read to the end; truncation cannot be detected in such files.
"""

from __future__ import annotations

from pal_plugin.audio.truncation.whole import CHUNK_NAME, riff_chunks

_NO_SAMPLES = b"\0\0\0\x08"
_UNKNOWN = b"\xff\xff\xff\xff"


def completed(data: bytes) -> bytes:
    """The same file, with its length set to unknown if it is 0 but samples follow."""
    if data[:4] in (b"RIFF", b"RF64", b"RIFX") and data[8:12] == b"WAVE":
        return _wav(data, "big" if data[:4] == b"RIFX" else "little")
    if data[:4] in (b".snd", b"dns.") and data[8:12] == bytes(4) and len(data) > 24:
        return data[:8] + _UNKNOWN + data[12:]
    if data[:4] == b"FORM" and data[8:11] == b"AIF":
        places = (at for name, at, _ in riff_chunks(data, "big") if name == b"SSND")
        at = next(places, len(data))
        # Eight bytes precede the samples.
        if data[at + 4 : at + 8] == _NO_SAMPLES and not _only_chunks(data, at + 16, "big"):
            return data[: at + 4] + _UNKNOWN + data[at + 8 :]
    return data


def _wav(data: bytes, order: str) -> bytes:
    at, ds64 = len(data), None
    for name, place, _ in riff_chunks(data, order):
        if name == b"ds64":
            ds64 = place
        if name == b"data":
            at = place
            break
    size = data[at + 4 : at + 8]
    wide = None if ds64 is None else data[ds64 + 16 : ds64 + 24]
    if size == _UNKNOWN and wide in (bytes(8), b"\xff" * 8):  # treat as a WAV of unknown length
        return b"RIFF" + data[4:ds64] + b"JUNK" + data[ds64 + 4 :]
    if size == bytes(4) and not _only_chunks(data, at + 8, order):
        return data[: at + 4] + _UNKNOWN + data[at + 8 :]
    return data


def _only_chunks(data: bytes, at: int, order: str) -> bool:
    """Whether only chunks follow up to the end, and no samples."""
    for name, start, size in riff_chunks(data, order, at):
        if not CHUNK_NAME.fullmatch(name):
            return False
        at = start + 8 + size + size % 2
    return at - len(data) in (0, 1)  # the last chunk may lack its padding byte
