"""Attention over audio and text: what a layer sees, and how it is computed fast."""
