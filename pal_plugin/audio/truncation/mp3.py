"""MPEG audio frame by frame: is the end missing, and how many frames are there?

Design choice: libsndfile believes an MP3's Xing header, and where there is none it guesses the
length from the first bit rate: a file of varying rate is then cut, one with a long tag seems too
short. So the frames are counted here, and a file without a count of its own, or with a wrong one
(files joined end to end), is handed on with a Xing header of our own in front.

Sources: ISO 11172-3 and 13818-3 (frame header), the Xing and VBRI headers as players read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pal_plugin.audio.errors import Undecodable

CHANGES = "it changes its rate or channels on the way, as files joined end to end do; split it"
MPEG1, LAYER_III, MONO = 3, 1, 3
# kbit/s by (MPEG-1, layer bits) and index; index 0 is the free format, 15 is not allowed.
_KBPS = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBPS[False, 1] = _KBPS[False, 2]
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
#: So many frames in a row are no accident, whatever they stand in.
_RUN = 4
_XING_BIT_RATE_INDEX = 9  # 128 or 80 kbit/s: a frame with room for the header at every rate


class Header(NamedTuple):
    """`stream` is what all frames of a file share; `length` is in bytes."""

    stream: tuple[int, int, int, bool]
    length: int
    side_info: int  # bytes between the header and a Xing mark


@lru_cache(maxsize=4096)
def parse_header(head: bytes) -> Header | None:
    """What four bytes say as a frame header, or None where they are none of a known length."""
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
    """`(position, header)` of every frame, the last one perhaps incomplete.

    A frame follows the frame before it; after tags or junk, two in a row make a new start.
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
    """Where the first run of frames begins, whatever stands in front of it; None without one."""
    for at in (after_tags(data), 0):  # a tag may lie about its size
        if (start := _next_run(data, at, len(data))) is not None:
            return start
    return None


def after_tags(data: bytes) -> int:
    """End of the ID3v2 tags, whose pictures may look like frames."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    return at


def _next_run(data: bytes, at: int, stop: int, without: tuple | None = None) -> int | None:
    """Position of `_RUN` frames of one stream that follow one another, not of stream `without`."""
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
    """Position from `at` of a frame that another one or the end of the data follows, or -1."""
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
    """`(data that libsndfile reads to its end, whether frames are missing at the end)`.

    Missing is: an incomplete last frame, or fewer frames than a Xing or VBRI header announces. A
    file without such a header that ends exactly between two frames cannot be told from a whole one.

    Raises:
        Undecodable: frames of another rate or number of channels follow, which would not be heard.
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
    # Up to three bytes of a next header are an incomplete frame too.
    rest = data[end + last.length :]
    cut_off = end + last.length > len(data) or (0 < len(rest) < 4 and rest[:1] == b"\xff")
    count = len(found) - (end + last.length > len(data))
    if first.stream[1] != LAYER_III:
        return data, cut_off
    mark = start + 4 + first.side_info
    vbri = data[start + 36 : start + 40] == b"VBRI"
    xing = data[mark : mark + 4] in (b"Xing", b"Info")
    count -= xing or vbri
    announced = None
    if vbri:
        announced = int.from_bytes(data[start + 50 : start + 54], "big")
        cut_off |= count + 1 < announced  # some writers count the VBRI frame itself
    elif xing and data[mark + 7] & 1:
        announced = int.from_bytes(data[mark + 8 : mark + 12], "big")
        cut_off |= count < announced
    if xing and announced is not None and count <= announced:
        return data, cut_off
    audio = found[1][0] if (xing or vbri) and len(found) > 1 else start
    return _xing_frame(data[start : start + 4], count) + data[audio:], cut_off


def _xing_frame(header: bytes, count: int) -> bytes:
    """A silent frame of the same stream that announces `count` frames."""
    sound = bytearray(header)
    sound[1] |= 1  # no checksum
    sound[2] = _XING_BIT_RATE_INDEX << 4 | sound[2] & 0b1100
    parsed = parse_header(bytes(sound))
    body = bytes(parsed.side_info) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (bytes(sound) + body).ljust(parsed.length, b"\0")
