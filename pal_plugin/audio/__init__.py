"""Audio in: decoding, resampling, log-mel spectra, and the front end of a list of encoders."""

from pal_plugin.audio.io import AudioError, load_audio, resample

__all__ = ["AudioError", "load_audio", "resample"]
