"""Recognizes audio files by their extension."""

from os.path import basename, splitext

#: Lower case, without the dot; if a clip exists with several, the first is preferred. Covers every
#: container that can be decoded (docs/formats.md).
AUDIO_EXTENSIONS = (
    *("flac", "wav", "ogg", "oga", "opus", "mp3", "m4a", "aac", "aiff", "aif", "au", "caf"),
    *("w64", "rf64", "sph", "webm", "mka", "wma", "mp4", "mkv"),
    *("wave", "bwf", "aifc", "snd", "nist", "mp2", "mp1", "mpga", "wv", "tta", "amr", "asf"),
    *("m4b", "mov", "m4v", "3gp", "3g2", "weba", "wmv"),
)


def is_audio(name: str) -> bool:
    """Whether a file name is audio; metadata files that macOS creates (`._*`) are not."""
    leftover = basename(name).startswith("._")
    return splitext(name)[1][1:].lower() in AUDIO_EXTENSIONS and not leftover
