"""How copies of YouTube datasets name a clip's file.

There is no official audio, and every download script has a convention of its own. All of them are
tried, the most specific first, with and without the `Y` that keeps a name from beginning with `-`.
"""

from __future__ import annotations


def clip_names(video: str, start_s: float, end_s: float) -> list[str]:
    """Names without extension, for example of video `abc` from 30 to 40 s:

    `abc_30`, `abc_000030` (VGGSound), `abc_30_40`, `abc_30.000_40.000` (DCASE, AudioSet),
    `abc_30000_40000` (ms), `abc`; each also with `Y` in front.
    """
    names = [
        f"{video}_{start_s:.3f}_{end_s:.3f}",
        f"{video}_{round(start_s * 1000)}_{round(end_s * 1000)}",
        video,
    ]
    if start_s == int(start_s):
        start, end = int(start_s), int(end_s)
        names = [f"{video}_{start}", f"{video}_{start:06d}", f"{video}_{start}_{end}", *names]
    return [name for plain in names for name in (plain, f"Y{plain}")]
