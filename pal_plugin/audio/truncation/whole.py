"""Detects truncated WAV, AIFF, AU, CAF, SPHERE and OGG files by their declared lengths.

Design choice: libsndfile silently reads truncated files of these formats, so the sizes in their
headers, and the flag of an OGG stream's last page, are compared with the actual data. Not needed
for FLAC, where libsndfile raises. MP3 is in `mp3`.

Sources: the RIFF, RF64 (EBU 3306), Wave64, AIFF, AU, CAF and SPHERE descriptions; RFC 3533 (OGG).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

#: 32-bit sizes from here on mean that the writer did not know the length (a stream).
UNKNOWN = 0x7FFFF000
#: Matches a chunk name, not samples.
CHUNK_NAME = re.compile(rb"(?! {4})[ -~]{4}")


def is_truncated(data: bytes) -> bool:
    """Whether the container declares more bytes than there are."""
    if data[:4] in (b"RIFF", b"RF64", b"RIFX") and data[8:12] == b"WAVE":
        return _wav(data, "big" if data[:4] == b"RIFX" else "little")
    if data[:4] == b"riff" and data[24:28] == b"wave":
        return any(end > len(data) for _, end in _chunks(data, 40, 16, "little", 8))
    if data[:4] == b"caff":
        return any(end > len(data) for _, end in _chunks(data, 8, 4, "big", 1))
    if data[:4] == b"FORM":
        size = int.from_bytes(data[4:8], "big")
        return size < UNKNOWN and 8 + size > len(data)
    if data[:4] in (b".snd", b"dns."):
        order = "big" if data[:4] == b".snd" else "little"
        start, size = int.from_bytes(data[4:8], order), int.from_bytes(data[8:12], order)
        return size < UNKNOWN and start + size > len(data)
    if data[:7] == b"NIST_1A":
        return 1024 + (nist_bytes(data) or 0) > len(data)
    if data[:4] == b"OggS":
        pages = list(ogg_pages(data))
        return not pages[-1][1] & 4 or pages[-1][2] > len(data)
    return False


def riff_chunks(data: bytes, order: str, at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """`(name, start, content size)` of the chunks of a WAV ("little") or AIFF ("big")."""
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], order)
        yield data[at : at + 4], at, size
        at += 8 + size + size % 2


def nist_bytes(data: bytes) -> int | None:
    """Bytes of samples that a SPHERE header declares; None if undeclared."""
    sizes = (rb"sample_count", rb"channel_count", rb"sample_n_bytes")
    found = [re.search(name + rb" -(?:i|s\d+) (\d+)", data[:1024]) for name in sizes]
    return prod(int(m[1]) for m in found) or None if all(found) else None


def ogg_links(data: bytes) -> list[bytes]:
    """The consecutive streams of an OGG file (a chain), each as a file."""
    starts, was_first = [], False
    for at, flags, _ in ogg_pages(data):
        is_first = bool(flags & 2)
        if is_first and not was_first:
            starts.append(at)
        was_first = is_first
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def ogg_pages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """`(start, flags, end)` of each page; flag 2: first of its stream, 4: last."""
    at = 0
    while (at := data.find(b"OggS", at)) >= 0:
        if at + 27 > len(data):
            yield at, 0, len(data) + 1
            return
        head = at + 27 + data[at + 26]
        end = head + sum(data[at + 27 : head])
        if head > len(data):
            end = len(data) + 1
        yield at, data[at + 5], end
        at = min(end, len(data))


def _wav(data: bytes, order: str) -> bool:
    size_64 = None
    for name, at, size in riff_chunks(data, order):
        if name == b"ds64":
            size_64 = int.from_bytes(data[at + 16 : at + 24], order)
        if name == b"data":
            if size == 0xFFFFFFFF and size_64:
                return at + 8 + size_64 > len(data)
            return 0 < size < UNKNOWN and at + 8 + size > len(data)
    return False


def _chunks(
    data: bytes, at: int, name_bytes: int, order: str, aligned: int
) -> Iterator[tuple[bytes, int]]:
    """`(name, end)` of each chunk with a size of 8 bytes; Wave64's sizes include the header."""
    head = name_bytes + 8
    while at + head <= len(data):
        name = data[at : at + name_bytes]
        size = int.from_bytes(data[at + name_bytes : at + head], order, signed=True)
        if size < 0:  # CAF: to the end of the file
            return
        end = at + (size if name_bytes == 16 else head + size)
        yield name, end
        at = max(-(-end // aligned) * aligned, at + head)
