"""Lengths that MP4, Matroska and ASF files declare in their own structures.

Design choice: ffmpeg reads a fragmented MP4 or a live WebM up to the last byte and derives a
duration from that. So declared sizes are compared with the actual size, as in `whole`; files
without a declared size are rejected, with a way to add one.

Sources: ISO 14496-12 (boxes; mfra, sidx), RFC 8794 and 9559 (Matroska), the ASF specification.
"""

from __future__ import annotations

from collections.abc import Iterator

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1
_TRUNCATED = "it is truncated: its header declares more bytes than there are"
_UNKNOWN = (
    "{0}, so truncation cannot be detected; if it is complete, `ffmpeg -i IN -c copy OUT` writes "
    "a file that declares its length"
)


_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"free", b"wide", b"skip")
_ASF = b"\x30\x26\xb2\x75"
#: Other formats left to ffmpeg: WavPack, TTA, AMR.
_OTHERS = (b"wvpk", b"TTA1", b"#!AMR")


def is_known(data: bytes) -> bool:
    """Whether the data starts like a container that ffmpeg reads."""
    return data[4:8] in _BOXES or data.startswith((_EBML, _ASF, *_OTHERS))


def end_of(data: bytes) -> int | None:
    """The declared end of MP4, Matroska and ASF files, in bytes, possibly beyond the data; None for
    other formats or undeclared lengths."""
    if data[4:8] in _BOXES:
        at = 0
        for kind, _, end in _boxes(data, 0, len(data)):
            is_box = kind in _BOXES or (kind.isalnum() and end <= len(data))
            if not is_box or (at and kind == b"ftyp"):
                break
            at = end
        return at
    if data[:4] == _EBML:
        return _segment_end(data)
    if data[:4] == _ASF:
        at = data.find(_ASF_FILE)
        return int.from_bytes(data[at + 40 : at + 48], "little") or None if at >= 0 else None
    return None


def problem(data: bytes) -> str | None:
    """Why a file may be truncated; None if its declared sizes match, or for other formats."""
    if data[4:8] in _BOXES:
        return _mp4(data)
    if data[:4] == _EBML:
        return _matroska(data)
    if data[:4] == _ASF:
        return _asf(data)
    return None


def _mp4(data: bytes) -> str | None:
    boxes = list(_boxes(data, 0, len(data)))
    kinds = [kind for kind, _, _ in boxes]
    in_moov = [k for kind, at, end in boxes if kind == b"moov" for k, _, _ in _boxes(data, at, end)]
    if b"mvex" not in in_moov and b"moof" not in kinds:
        return None  # a single table of packets, checked by `ffmpeg`; a tag may follow the last box
    if any(end > len(data) for _, _, end in boxes):
        return _TRUNCATED
    if kinds[-1] == b"mfra":
        return None
    for kind, at, end in boxes:
        if kind == b"sidx" and (declared := _indexed(data[at:end])) is not None:
            return _TRUNCATED if end + declared > len(data) else None
    return _UNKNOWN.format("it is fragmented and has no index of its fragments")


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """`(type, start of the content, end)` of each box; the last end may be beyond `stop`."""
    while at < stop:
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = stop if size == 0 and at + head <= stop else at + max(size, head)  # 0: to the end
        yield data[at + 4 : at + 8], at + head, end
        at = end


def _indexed(sidx: bytes) -> int | None:
    """Bytes after the box that its index covers; None if it only indexes a single fragment."""
    wide = 8 if sidx[0] == 1 else 4  # bytes of a time and of an offset
    offset_at = 12 + wide
    count_at = offset_at + wide + 2
    count = int.from_bytes(sidx[count_at : count_at + 2], "big")
    if count < 2:
        return None
    sizes = [sidx[at : at + 4] for at in range(count_at + 2, len(sidx), 12)][:count]
    offset = int.from_bytes(sidx[offset_at : offset_at + wide], "big")
    # The most significant bit marks a reference to another index.
    return offset + sum(int.from_bytes(size, "big") & 0x7FFFFFFF for size in sizes)


def _matroska(data: bytes) -> str | None:
    end = _segment_end(data)
    if end is None:
        return _UNKNOWN.format("it was written as a stream and does not say how long it is")
    return _TRUNCATED if end > len(data) else None


def _segment_end(data: bytes) -> int | None:
    """End of the segment; None if undeclared, beyond the data if its header is truncated."""
    at = 0
    while at + 12 <= len(data):
        kind = data[at : at + 4]
        width = 9 - data[at + 4].bit_length()
        size = int.from_bytes(data[at + 4 : at + 4 + width], "big") - (1 << 7 * width)
        if size == (1 << 7 * width) - 1:
            return None
        at += 4 + width + size
        if kind == _SEGMENT:
            return at
        if kind != _EBML:
            break
    return len(data) + 1


def _asf(data: bytes) -> str | None:
    at = data.find(_ASF_FILE)
    size = int.from_bytes(data[at + 40 : at + 48], "little")
    flags = int.from_bytes(data[at + 88 : at + 92], "little")
    if at < 0 or size == 0 or flags & _ASF_BROADCAST:
        return _UNKNOWN.format("it was written as a stream and does not say how long it is")
    return _TRUNCATED if size > len(data) else None
