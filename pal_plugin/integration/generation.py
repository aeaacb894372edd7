"""`generate` with audio: transformers refuses keyword arguments that a model does not name."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from types import MethodType

import transformers
from packaging.version import Version
from torch import nn

from pal_plugin.attention.attached import KEYWORDS, attached, unwrapped
from pal_plugin.attention.context import AudioContext
from pal_plugin.llm.label_tree import cache_keyword

_PEFT_WITHOUT_CACHE = Version("0.21.2")


def accept(llm: nn.Module) -> None:
    """Let `llm.generate(..., audio=AudioContext)` through to the model's forward, by the keywords
    for which something is attached."""
    if not isinstance(llm.__dict__.get("generate"), _Generate):
        llm.generate = _Generate(llm)
        llm.prepare_inputs_for_generation = _Prepare(llm)


def refuse(llm: nn.Module) -> None:
    """Undo `accept`, once nothing is attached any more."""
    if not any(attached(llm.get_decoder(), keyword) for keyword in KEYWORDS):
        for name in ("generate", "prepare_inputs_for_generation"):
            del llm.__dict__[name]


class _Prepare:
    """`prepare_inputs_for_generation` with audio in its signature: transformers looks there for the
    keywords that `generate` may be given.

    A class and no closure, as `_Generate`, so that an attached model can be copied and pickled.

    Args:
        stock: what prepares the inputs without audio; None: the model's own method.
    """

    def __init__(self, llm: nn.Module, stock: Callable | None = None) -> None:
        self.llm, self.stock = llm, stock

    def __call__(self, *args, **kwargs):
        audio = {name: kwargs.pop(name) for name in KEYWORDS if kwargs.get(name) is not None}
        return {**self._without_audio(*args, **kwargs), **audio}

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._without_audio)
        given = [p for p in signature.parameters.values() if p.name not in KEYWORDS]
        audio = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY) for k in KEYWORDS]
        # By kind, since these stand in front of **kwargs.
        return signature.replace(parameters=sorted([*given, *audio], key=lambda p: p.kind))

    @property
    def _without_audio(self) -> Callable:
        if self.stock is not None:
            return self.stock
        return MethodType(type(self.llm).prepare_inputs_for_generation, self.llm)


class _Generate:
    """`generate` of an attached model."""

    def __init__(self, llm: nn.Module) -> None:
        self.llm = llm

    def __call__(self, *args, **kwargs):
        llm, assistant = self.llm, kwargs.get("assistant_model")
        given = {name: kwargs[name] for name in KEYWORDS if kwargs.get(name) is not None}
        for keyword, audio in given.items():
            if not attached(llm.get_decoder(), keyword):
                raise ValueError(f"generate got {keyword}=, but the LLM is not attached for it")
            check_context(audio, keyword, llm.get_decoder().config.hidden_size)
            if assistant is not None:  # which is given the same context, and has other K/V
                _check_assistant(assistant, keyword, audio)
                audio = audio.without_kv()
            kwargs[keyword] = audio.with_kv_cache()
        with _through_peft(llm) if given else contextlib.nullcontext():
            return type(llm).generate(llm, *args, **kwargs)


def _check_assistant(assistant: nn.Module, keyword: str, audio: AudioContext) -> None:
    model = unwrapped(assistant)
    decoder = model.get_decoder()
    if not attached(decoder, keyword):
        raise ValueError(
            f"the assistant model is given {keyword}= too, but is not attached for it: attach "
            "it (it must be as wide as the LLM), or leave assistant_model out"
        )
    check_context(audio, keyword, decoder.config.hidden_size)
    if audio.layers and max(audio.layers) >= len(decoder.layers):
        raise ValueError(
            f"{keyword}.layers is {sorted(audio.layers)}, and the assistant model, which is given "
            f"the same audio, has {len(decoder.layers)} layers: leave assistant_model or layers out"
        )


@contextlib.contextmanager
def _through_peft(llm: nn.Module) -> Iterator[None]:
    """peft's wrapper of prompt, prefix and p-tuning puts a method of its own there to prepare the
    inputs, for one `generate`: it is wrapped, as the model's own is."""
    theirs = llm.prepare_inputs_for_generation
    if isinstance(theirs, _Prepare):
        yield
        return
    if getattr(theirs, "__self__", None) is not llm:  # else peft put the stock method back
        _check_prompt_learning(llm)
    llm.prepare_inputs_for_generation = _Prepare(llm, theirs)
    try:
        yield
    finally:
        llm.prepare_inputs_for_generation = theirs


def _check_prompt_learning(llm: nn.Module) -> None:
    from peft import __version__

    if cache_keyword(llm.get_decoder()) == "cache" and Version(__version__) <= _PEFT_WITHOUT_CACHE:
        raise ValueError(
            f"peft {__version__} does not know the KV cache of transformers "
            f"{transformers.__version__} by its new name: after prompt learning the two generate "
            "wrong text, with audio or without. Use transformers below 5.24 or a newer peft"
        )


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
