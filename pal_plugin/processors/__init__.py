"""Processors as LAVIS knows them: `pal_audio` and `pal_text`."""
