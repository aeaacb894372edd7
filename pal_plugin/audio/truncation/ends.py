"""Locates the declared end of a file; data after it belongs to another file, or to none.

If the length is not declared, this is the start of the samples. Truncation is detected elsewhere
(`whole`, `mp3`, `declared`).

Sources: as in `whole` and `declared`; RFC 9639 (FLAC), the WavPack file format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pal_plugin.audio.truncation import declared, whole

_FILES = (b"RIFF", b"RIFX", b"RF64")
_OTHERS = (b"FORM", b"caff", b"fLaC", b"OggS", b"wvpk", b"TTA1", b"NIST")  # not chunk names
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")


class End(NamedTuple):
    """`at`: offset of the first byte after the file; `is_known`: False if samples may follow it."""

    at: int
    is_known: bool = True


def end_of(data: bytes) -> End:
    """The end of a file, clamped to the data."""
    found = _end_of(data)
    return End(min(found.at, len(data)), found.is_known)


def is_uncounted(data: bytes) -> bool:
    """Whether a WAV has undeclared data after its samples, other than chunks, tags and zeros:
    appended samples, or samples whose number was never written."""
    if data[:4] not in _FILES or data[8:12] != b"WAVE":
        return False
    end = end_of(data)
    rest = data[end.at :]
    return end.is_known and len(rest.strip(b"\0")) > 8 and not rest.startswith(_TAGS)


def wavpack_blocks(data: bytes) -> Iterator[tuple[bool, int]]:
    """`(whether it starts a stream, end)` of each block; the last may end beyond the data."""
    at = 0
    while data[at : at + 4] == b"wvpk":
        sample = int.from_bytes(data[at + 16 : at + 20], "little")
        is_first = int.from_bytes(data[at + 24 : at + 28], "little") & 0x800  # of several channels
        end = at + 8 + max(24, int.from_bytes(data[at + 4 : at + 8], "little"))
        yield bool(is_first) and sample == 0, end
        at = end


def _end_of(data: bytes) -> End:
    if data[:4] in _FILES and data[8:12] == b"WAVE":
        return _wav(data, "big" if data[:4] == b"RIFX" else "little")
    if data[:4] == b"riff":
        size = int.from_bytes(data[16:24], "little")
        return End(size) if 40 < size < 2**62 else End(40, False)
    if data[:4] == b"FORM":
        size = int.from_bytes(data[4:8], "big")
        return End(8 + size) if 4 < size < whole.UNKNOWN else End(12, False)
    if data[:4] in (b".snd", b"dns."):
        order = "big" if data[:4] == b".snd" else "little"
        start, size = int.from_bytes(data[4:8], order), int.from_bytes(data[8:12], order)
        return End(start + size) if 0 < size < whole.UNKNOWN else End(start, False)
    if data[:4] == b"caff":
        return _caf(data)
    if data[:7] == b"NIST_1A":
        size = whole.nist_bytes(data)
        return End(1024, False) if size is None else End(1024 + size)
    if data[:4] == b"OggS":
        return End(list(whole.ogg_pages(data))[-1][2])
    if data[:4] == b"wvpk":
        return End([end for _, end in wavpack_blocks(data)][-1])
    if data[:4] == b"fLaC":
        return End(_flac_metadata(data), False)
    end = declared.end_of(data)
    return End(8, False) if end is None else End(end)


def _wav(data: bytes, order: str) -> End:
    at, size_64, samples = 12, 0, False
    while whole.CHUNK_NAME.fullmatch(data[at : at + 4]) and at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], order)
        if name in _OTHERS or (name in _FILES and data[at + 8 : at + 12] == b"WAVE"):
            break
        if name == b"ds64":
            size_64 = int.from_bytes(data[at + 16 : at + 24], order)
        if name == b"data":
            size = size_64 if size == 0xFFFFFFFF and size_64 else size
            if not 0 < size < max(whole.UNKNOWN, size_64 + 1):
                return End(at + 8, False)
            samples = True
        elif at + 8 + size > len(data):
            break  # not a chunk
        at += 8 + size + (size % 2 if at + 8 + size < len(data) else 0)
    return End(at, samples)


def _caf(data: bytes) -> End:
    at = 8
    while data[at : at + 4].isalpha() and at + 12 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 12], "big", signed=True)
        if size < 0 and data[at : at + 4] == b"data":
            return End(at + 12, False)
        if not 0 <= size <= len(data) - at - 12:
            break  # not a chunk
        at += 12 + size
    return End(at)


def _flac_metadata(data: bytes) -> int:
    """Where FLAC's frames begin: metadata blocks may contain pictures and other files."""
    at, is_last = 4, False
    while not is_last and at + 4 <= len(data):
        is_last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at
