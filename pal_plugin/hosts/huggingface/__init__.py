"""Hugging Face as a host: importing this registers `AudioLLM` with its Auto classes."""

from pal_plugin.hosts.huggingface.registration import register_all

register_all()
