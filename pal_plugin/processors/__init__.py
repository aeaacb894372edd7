"""Processors of clips and questions: `pal_audio`, `pal_audio_augmented`, `pal_text`."""
