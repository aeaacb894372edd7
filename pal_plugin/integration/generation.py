"""`generate` with audio: transformers refuses keyword arguments that a model does not name."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator

import transformers
from packaging.version import Version
from torch import nn

from pal_plugin.integration.context import AudioContext
from pal_plugin.llm.label_tree import cache_keyword

#: LAL's audio, and that of gated cross attention.
KEYWORDS = ("audio", "cross_audio")
_PEFT_WITHOUT_CACHE = Version("0.21.2")


def unwrapped(llm: nn.Module) -> nn.Module:
    """The model inside peft's wrapper."""
    return llm.get_base_model() if hasattr(llm, "get_base_model") else llm


def accept(llm: nn.Module, keyword: str) -> None:
    """Let `llm.generate(..., <keyword>=AudioContext)` through to the model's forward."""
    if "_audio_keywords" not in llm.__dict__:
        llm._audio_keywords = set()
        llm.generate = _Generate(llm)
    llm._audio_keywords.add(keyword)


def refuse(llm: nn.Module, keyword: str) -> None:
    """Undo `accept`."""
    llm._audio_keywords.discard(keyword)
    if not llm._audio_keywords:
        del llm.__dict__["generate"], llm.__dict__["_audio_keywords"]


class _Generate:
    """`generate` of a model that hears.

    A class and no closure, so that an attached model can be copied and pickled.
    """

    def __init__(self, llm: nn.Module) -> None:
        self.llm = llm

    def __call__(self, *args, **kwargs):
        llm = self.llm
        heard = {name: kwargs[name] for name in KEYWORDS if kwargs.get(name) is not None}
        for keyword, audio in heard.items():
            if keyword not in llm._audio_keywords:
                raise ValueError(f"generate got {keyword}=, but nothing that hears it is attached")
            check_context(audio, keyword, llm.get_decoder().config.hidden_size)
            _check_assistant(kwargs.get("assistant_model"), keyword, audio)
            _check_prompt_learning(llm)
            kwargs[keyword] = audio.remembering()
        with _named_in_signature(llm) if heard else contextlib.nullcontext():
            return type(llm).generate(llm, *args, **kwargs)


def _check_assistant(assistant: nn.Module | None, keyword: str, audio: AudioContext) -> None:
    if assistant is None:
        return
    model = unwrapped(assistant)
    if keyword not in model.__dict__.get("_audio_keywords", ()):
        raise ValueError(
            f"the assistant model is given {keyword}= too, and nothing that hears it is attached "
            "to it: attach it (it must be as wide as the LLM), or leave assistant_model out"
        )
    check_context(audio, keyword, model.get_decoder().config.hidden_size)


def _check_prompt_learning(llm: nn.Module) -> None:
    """peft's wrapper of prompt, prefix and p-tuning prepares the inputs of the model inside."""
    if getattr(llm.prepare_inputs_for_generation, "__self__", llm) is llm:
        return
    from peft import __version__

    if cache_keyword(llm.get_decoder()) == "cache" and Version(__version__) <= _PEFT_WITHOUT_CACHE:
        raise ValueError(
            f"peft {__version__} does not know the KV cache of transformers "
            f"{transformers.__version__} by its new name: after prompt learning the two generate "
            "wrong text, with audio or without. Use transformers below 5.24 or a newer peft"
        )


@contextlib.contextmanager
def _named_in_signature(llm: nn.Module) -> Iterator[None]:
    """For one `generate`: audio in the signature of what prepares its inputs, be it the model's own
    method or one that peft has put there. transformers refuses keywords that are not named there.
    """
    prepare = llm.prepare_inputs_for_generation
    before = llm.__dict__.get("prepare_inputs_for_generation")
    llm.prepare_inputs_for_generation = _preparing_audio(prepare)
    try:
        yield
    finally:
        del llm.prepare_inputs_for_generation
        if before is not None:
            llm.prepare_inputs_for_generation = before


def _preparing_audio(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def prepare(*args, **kwargs):
        heard = {name: kwargs.pop(name) for name in KEYWORDS if kwargs.get(name) is not None}
        return {**stock(*args, **kwargs), **heard}

    signature = inspect.signature(stock)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    variable = [p for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
    extra = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=None) for k in KEYWORDS]
    prepare.__signature__ = signature.replace(parameters=[*named, *extra, *variable])
    return prepare


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
