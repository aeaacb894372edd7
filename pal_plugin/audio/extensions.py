"""Which files of a folder are audio, told by their names."""

from os.path import splitext

#: Without the dot, in lower case; where a clip is there under several, the first is taken.
AUDIO_EXTENSIONS = (
    *("flac", "wav", "ogg", "oga", "opus", "mp3", "m4a", "aac", "aiff", "aif", "au", "caf"),
    *("w64", "rf64", "sph", "webm", "mka", "wma", "mp4", "mkv"),
)


def is_audio(name: str) -> bool:
    """Whether a file of this name counts as audio."""
    return splitext(name)[1][1:].lower() in AUDIO_EXTENSIONS
