"""What the paper is about: the ways for audio to enter an LLM."""

from pal_plugin.attention.context import AudioContext
from pal_plugin.integration.attach import attach, check_family, detach
from pal_plugin.integration.plits import prepend
from pal_plugin.integration.routing import LLMInputs, Route, RoutedAudio, route

__all__ = [
    "AudioContext",
    "LLMInputs",
    "Route",
    "RoutedAudio",
    "attach",
    "check_family",
    "detach",
    "prepend",
    "route",
]
