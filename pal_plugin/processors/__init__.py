"""What a clip and a question go through: `pal_audio`, `pal_audio_augmented`, `pal_text`."""
