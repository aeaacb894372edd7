"""Does another file begin behind the first?

Files are joined by `cat` and by recorders that append. Decoders then stop where the first one ends,
or play the second at the wrong rate; both without an error. OGG and MP3 are made to be joined, so
they are not here: `sndfile` reads each stream of an OGG, and `mp3` looks at every frame.

Sources: as in `whole`; RFC 9639 (FLAC).
"""

from __future__ import annotations

import re

SECOND_FILE = "a second file begins behind the first; split them"
CHANGES = "it changes its rate or channels on the way, as files joined end to end do; split it"

#: How files begin, in bytes enough that samples do not look like it by chance.
_BEGINS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"R(IFF|IFX|F64)....WAVE",
        rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",  # Wave64
        rb"FORM....AIF[FC]",
        rb"\.snd\0\0......\0\0\0[\x01-\x1b]",
        rb"dns\...\0\0....[\x01-\x1b]\0\0\0",
        rb"caff\0\x01\0\0desc",
        rb"NIST_1A\n   1024\n",
        rb"fLaC[\x00\x80]\0\0\x22",
        rb"TTA1[\x01-\x03]\0[\x01-\x20]\0",
    )
]


def holds_another(data: bytes) -> bool:
    """Whether what a file begins with stands in it a second time."""
    return any(begins.match(data) and begins.search(data, 1) for begins in _BEGINS)
