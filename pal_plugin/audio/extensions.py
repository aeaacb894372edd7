"""Which files of a folder are audio, told by their names."""

from os.path import basename, splitext

#: Without the dot, in lower case; where a clip is there under several, the first is taken. Every
#: container that is decoded is here (docs/formats.md).
AUDIO_EXTENSIONS = (
    *("flac", "wav", "ogg", "oga", "opus", "mp3", "m4a", "aac", "aiff", "aif", "au", "caf"),
    *("w64", "rf64", "sph", "webm", "mka", "wma", "mp4", "mkv"),
    *("wave", "bwf", "aifc", "snd", "nist", "mp2", "mp1", "mpga", "wv", "tta", "amr", "asf"),
    *("m4b", "mov", "m4v", "3gp", "3g2", "weba", "wmv"),
)


def is_audio(name: str) -> bool:
    """Whether a file of this name counts as audio; what macOS leaves beside one (`._`) does not."""
    leftover = basename(name).startswith("._")
    return splitext(name)[1][1:].lower() in AUDIO_EXTENSIONS and not leftover
