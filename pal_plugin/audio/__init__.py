"""Audio input: decoding, resampling, augmentation and log-mel features."""
