"""Detection of truncated audio files.

Decoders silently read most truncated files, so declared lengths are compared with the actual size:
`whole` does so for libsndfile's containers, `mp3` counts frames, and `declared` reads the sizes in
ffmpeg's containers. `decoding`, `sndfile` and `ffmpeg` use these and raise.
"""
