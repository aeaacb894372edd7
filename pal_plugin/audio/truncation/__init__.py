"""Is the end of the file missing?

Decoders read most containers short without an error, so what each says of its own length is
compared with the bytes at hand: `whole` does it for libsndfile's containers, `mp3` counts frames,
and `announced` reads the sizes in those of ffmpeg. They are asked by `decoding` and `ffmpeg`, which
raise.
"""
