"""Audio in: decoding, resampling, log-mel spectra, and the front end of a list of encoders."""
