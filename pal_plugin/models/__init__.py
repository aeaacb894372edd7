"""The audio-LLM and its registration. `pal_model` needs LAVIS; everything else does not."""
