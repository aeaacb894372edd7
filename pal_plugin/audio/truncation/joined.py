"""Detects concatenated files.

Files get concatenated by `cat` and by recorders that append. Decoders then stop at the end of the
first, or play the second at the wrong rate, both without an error. OGG and MP3 allow concatenation:
`sndfile` reads each stream of an OGG, and `mp3` checks every frame.
"""

from __future__ import annotations

import re

from pal_plugin.audio.truncation import ends, mp3

SECOND_FILE = "it contains a second file after the first; split them"

#: File signatures, long enough not to occur in samples by chance.
_BEGINS = re.compile(
    rb"R(?:IFF|IFX|F64)....WAVE"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"  # Wave64
    rb"|FORM....AIF[FC]"
    rb"|\.snd\0\0......\0\0\0[\x01-\x1b]"
    rb"|dns\...\0\0....[\x01-\x1b]\0\0\0"
    rb"|caff\0\x01\0\0desc"
    rb"|NIST_1A\n   1024\n"
    rb"|fLaC[\x00\x80]\0\0\x22"
    rb"|TTA1[\x01-\x03]\0[\x01-\x20]\0"
    rb"|OggS\0\x02"
    rb"|\0\0[\0-\x03].ftyp[ -~]{4}"
    rb"|\x1a\x45\xdf\xa3.{1,60}?(?:webm|matroska)"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"  # ASF
    rb"|wvpk....[\x02-\x10]\x04"
    rb"|#!AMR",
    re.DOTALL,
)


def holds_another(data: bytes) -> bool:
    """Whether another file, of any format, starts after the end of the first."""
    if data[:4] == b"wvpk" and sum(begins for begins, _ in ends.wavpack_blocks(data)) > 1:
        return True
    at, is_known = ends.end_of(data)
    if _BEGINS.search(data, at) is not None:
        return True
    # FLAC does not declare its end, but its frames do not look like MP3.
    return (is_known or data[:4] == b"fLaC") and mp3.start_behind_junk(data[at:]) is not None
