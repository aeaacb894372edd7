"""What is attached to an LLM, in one record for each keyword that audio comes by.

The records are kept in the decoder itself: they are copied, pickled, wrapped and sharded with it,
and no key of its state dict changes. `attached` is how any module asks for one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PretrainedConfig

from pal_plugin.llm.families import LayerAdapter

#: LAL's audio, and that of gated cross attention.
KEYWORDS = ("audio", "cross_audio")


@dataclass(eq=False)
class Attachment:
    """One kind of attachment.

    Args:
        hooks: what was put into the LLM's modules; `release` takes it out.
    """

    hooks: list[RemovableHandle] = field(default_factory=list)


@dataclass(eq=False)
class LALAttachment(Attachment):
    """LAL's.

    Args:
        adapters: every attention module with its adapter, in the order of the layers.
        config: the decoder's config under LAL's attention implementation, for those modules.
        stock: the implementation that `config` extends; None before the first call, and while the
            LLM uses one that LAL does not extend.
        unchecked: whether LAL is still to be compared with the stock model, once weights are there.
    """

    adapters: list[tuple[nn.Module, LayerAdapter]] = field(default_factory=list)
    config: PretrainedConfig | None = None
    stock: str | None = None
    unchecked: bool = False


def unwrapped(llm: nn.Module) -> nn.Module:
    """The model inside peft's wrapper."""
    return llm.get_base_model() if hasattr(llm, "get_base_model") else llm


def attached(decoder: nn.Module, keyword: str) -> Attachment | None:
    """The attachment for `keyword`: of "audio" a LALAttachment, or of "cross_audio"; None: none.

    Args:
        decoder: `get_decoder()` of the LLM.
    """
    return getattr(decoder, "_attached", {}).get(keyword)


def keep(decoder: nn.Module, keyword: str, attachment: Attachment) -> None:
    """Record `attachment` for `keyword`."""
    decoder._attached = {**getattr(decoder, "_attached", {}), keyword: attachment}


def release(decoder: nn.Module, keyword: str) -> None:
    """Take the hooks out and forget the record."""
    for hook in decoder._attached.pop(keyword).hooks:
        hook.remove()
    if not decoder._attached:
        del decoder._attached
