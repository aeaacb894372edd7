"""`generate` with audio: transformers refuses keyword arguments that a model does not name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import MethodType

from torch import nn

from pal_plugin.integration.context import AudioContext

#: LAL's audio, and that of gated cross attention.
KEYWORDS = ("audio", "cross_audio")


def unwrapped(llm: nn.Module) -> nn.Module:
    """The model inside peft's wrapper."""
    return llm.get_base_model() if hasattr(llm, "get_base_model") else llm


def accept(llm: nn.Module, keyword: str) -> None:
    """Let `llm.generate(..., <keyword>=AudioContext)` through to the model's forward."""
    if "_audio_keywords" not in llm.__dict__:
        llm._audio_keywords = set()
        prepare = _preparing_audio(type(llm).prepare_inputs_for_generation)
        llm.prepare_inputs_for_generation = MethodType(prepare, llm)
        llm.generate = MethodType(_generate, llm)
    llm._audio_keywords.add(keyword)


def refuse(llm: nn.Module, keyword: str) -> None:
    """Undo `accept`."""
    llm._audio_keywords.discard(keyword)
    if not llm._audio_keywords:
        for name in ("prepare_inputs_for_generation", "generate", "_audio_keywords"):
            del llm.__dict__[name]


def _preparing_audio(stock: Callable) -> Callable:
    """`prepare_inputs_for_generation` with audio in its signature, which `generate` inspects: it
    refuses keyword arguments, and `inputs_embeds`, that are not named there."""

    @functools.wraps(stock)
    def prepare(self, *args, **kwargs):
        heard = {name: kwargs.pop(name) for name in KEYWORDS if kwargs.get(name) is not None}
        return {**stock(self, *args, **kwargs), **heard}

    signature = inspect.signature(stock)
    *named, variable = signature.parameters.values()
    extra = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=None) for k in KEYWORDS]
    prepare.__signature__ = signature.replace(parameters=[*named, *extra, variable])
    return prepare


def _generate(self, *args, **kwargs):
    for keyword in KEYWORDS:
        audio = kwargs.get(keyword)
        if audio is None:
            continue
        if keyword not in self._audio_keywords:
            raise ValueError(f"generate got {keyword}=, but nothing that hears it is attached")
        check_context(audio, keyword, self.get_decoder().config.hidden_size)
        kwargs[keyword] = audio.remembering()
    return type(self).generate(self, *args, **kwargs)


def check_context(audio: object, keyword: str, width: int) -> None:
    """Raises TypeError for anything but an AudioContext, ValueError for one of another width."""
    if not isinstance(audio, AudioContext):
        raise TypeError(
            f"expected {keyword}=AudioContext(features [B, m, D], mask [B, m]), got "
            f"{type(audio).__name__}; AudioContext.from_tokens takes AudioTokens"
        )
    if audio.features.shape[-1] != width:
        raise ValueError(
            f"the audio features are {audio.features.shape[-1]} wide, the LLM is {width}; "
            "a connector maps the one to the other"
        )
