"""Parses MPEG audio frames: detects truncation and counts frames.

Design choice: libsndfile trusts an MP3's Xing header, and without one estimates the length from the
first bit rate: variable-bit-rate files are then cut short, and files with a long tag seem too
short. So frames are counted here, and a file whose count is missing or wrong (concatenated files)
gets a new Xing header.

Sources: ISO 11172-3 and 13818-3 (frame header), the Xing and VBRI headers as players read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pal_plugin.audio.errors import Undecodable

CHANGES = "its sampling rate or channels change midway, as in concatenated files; split it"
MPEG1, LAYER_III, MONO = 3, 1, 3
# kbit/s by (MPEG-1, layer bits) and index; index 0 is free format, 15 is invalid.
_KBPS = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBPS[False, 1] = _KBPS[False, 2]
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
#: This many consecutive frames do not occur by chance.
_RUN = 4
_XING_BIT_RATE_INDEX = 9  # 128 or 80 kbit/s: the header fits such a frame at every rate


class Header(NamedTuple):
    """`stream` is common to all frames of a file; `length` is in bytes."""

    stream: tuple[int, int, int, bool]
    length: int
    side_info: int  # bytes between the header and a Xing tag


@lru_cache(maxsize=4096)
def parse_header(head: bytes) -> Header | None:
    """Parses a four-byte frame header; None if invalid or of unknown length."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or bit_rate in (0, 15) or rate == 3:
        return None
    bits_per_s = 1000 * _KBPS[version == MPEG1, layer][bit_rate - 1]
    rate_hz, padding = _RATES_HZ[version][rate], head[2] >> 1 & 1
    if layer == 3:
        length = (12 * bits_per_s // rate_hz + padding) * 4
    else:
        slots = 72 if layer == LAYER_III and version != MPEG1 else 144
        length = slots * bits_per_s // rate_hz + padding
    mono = head[3] >> 6 == MONO
    side_info = (17 if mono else 32) if version == MPEG1 else (9 if mono else 17)
    checksum = 0 if head[1] & 1 else 2
    return Header((version, layer, rate, mono), length, side_info + checksum)


def frames(data: bytes) -> Iterator[tuple[int, Header]]:
    """Yields `(position, header)` of every frame; the last one may be incomplete.

    Frames follow each other; after tags or junk, two consecutive frames mark a new start.
    """
    at = _next_start(data, after_tags(data), None)
    header = parse_header(data[at : at + 4]) if at >= 0 else None
    while header:
        yield at, header
        stream = header.stream
        at += header.length
        header = parse_header(data[at : at + 4])
        if at < len(data) and (header is None or header.stream != stream):
            at = _next_start(data, at, stream)
            header = parse_header(data[at : at + 4]) if at >= 0 else None


def start_behind_junk(data: bytes) -> int | None:
    """Position of the first run of frames, whatever precedes it; None without one."""
    for at in (after_tags(data), 0):  # a tag's declared size may be wrong
        if (start := _next_run(data, at, len(data))) is not None:
            return start
    return None


def after_tags(data: bytes) -> int:
    """End of the ID3v2 tags, whose images may look like frames."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    return at


def _next_run(data: bytes, at: int, stop: int, without: tuple | None = None) -> int | None:
    """Position of `_RUN` consecutive frames of one stream other than `without`; None if none."""
    while (at := data.find(b"\xff", at, stop)) >= 0:
        end, streams = at, set()
        for _ in range(_RUN):
            header = parse_header(data[end : end + 4])
            if header is None:
                break
            streams.add(header.stream)
            end += header.length
        else:
            if len(streams) == 1 and without not in streams and end <= len(data):
                return at
        at += 1
    return None


def _next_start(data: bytes, at: int, stream: tuple | None) -> int:
    """First position from `at` of a frame followed by another one or the end of the data, or -1."""
    while (at := data.find(b"\xff", at)) >= 0:
        header = parse_header(data[at : at + 4])
        if header and stream in (None, header.stream):
            end = at + header.length
            after = parse_header(data[end : end + 4])
            if end == len(data) or (after and after.stream == header.stream):
                return at
        at += 1
    return -1


def prepare(data: bytes) -> tuple[bytes, bool]:
    """`(data that libsndfile decodes completely, whether it is truncated)`.

    Truncated means: an incomplete last frame, or fewer frames than a Xing or VBRI header declares.
    Truncation exactly between two frames is not detected without such a header.

    Raises:
        Undecodable: if frames with another rate or number of channels follow.
    """
    found = list(frames(data))
    if not found:
        return data, False
    start, first = found[0]
    end, last = found[-1]
    ends = [at + header.length for at, header in found]
    for gap, stop in zip(ends, [*(at for at, _ in found[1:]), len(data)], strict=True):
        if _next_run(data, gap, stop, without=first.stream) is not None:
            raise Undecodable(CHANGES)
    # Up to three bytes of a next header are an incomplete frame, too.
    rest = data[end + last.length :]
    truncated = end + last.length > len(data) or (0 < len(rest) < 4 and rest[:1] == b"\xff")
    count = len(found) - (end + last.length > len(data))
    if first.stream[1] != LAYER_III:
        return data, truncated
    mark = start + 4 + first.side_info
    vbri = data[start + 36 : start + 40] == b"VBRI"
    xing = data[mark : mark + 4] in (b"Xing", b"Info")
    count -= xing or vbri
    declared = None
    if vbri:
        declared = int.from_bytes(data[start + 50 : start + 54], "big")
        truncated |= count + 1 < declared  # some writers count the VBRI frame itself
    elif xing and data[mark + 7] & 1:
        declared = int.from_bytes(data[mark + 8 : mark + 12], "big")
        truncated |= count < declared
    if xing and declared is not None and count <= declared:
        return data, truncated
    audio = found[1][0] if (xing or vbri) and len(found) > 1 else start
    return _xing_frame(data[start : start + 4], count) + data[audio:], truncated


def _xing_frame(header: bytes, count: int) -> bytes:
    """A silent frame of the same stream with a Xing header that declares `count` frames."""
    sound = bytearray(header)
    sound[1] |= 1  # no checksum
    sound[2] = _XING_BIT_RATE_INDEX << 4 | sound[2] & 0b1100
    parsed = parse_header(bytes(sound))
    body = bytes(parsed.side_info) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (bytes(sound) + body).ljust(parsed.length, b"\0")
