"""Gated cross attention in the manner of Flamingo: new layers in front of some decoder layers.

A block in front of layer l, with the audio H of `cross_audio` (Flamingo, arXiv 2204.14198, section
2.2 and figure 4):

    h <- h + tanh(alpha) CrossAttention(N(h), H)
    h <- h + tanh(beta)  FFN(N'(h))

alpha and beta start at 0, so a fresh block changes nothing. Unlike LAL, the blocks have weights of
their own and pass the text through attention and FFN once more; unlike PLITS, audio itself passes
no FFN. It is here for comparison, under the same interface as LAL: `attach`, a keyword argument
to `llm(...)` and `llm.generate(...)`, `detach`. The blocks stay outside of the LLM's state dict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pal_plugin.attention.attached import Attachment, attached, keep, release, unwrapped
from pal_plugin.attention.context import AudioContext, repeat_rows, rows_per_clip
from pal_plugin.attention.layout import text_index, text_of
from pal_plugin.integration import generation
from pal_plugin.llm.gradient_checkpointing import refuse_reentrant


class GatedCrossAttention(nn.Module):
    """One block.

    Args:
        width: D, of text and audio alike.
        heads: attention heads; they divide `width`.
        ffn: width of the FFN as a multiple of D.
        layer: index of the decoder layer it runs before.
    """

    def __init__(self, width: int, heads: int, ffn: int = 4, layer: int = 0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads, self.layer = heads, layer
        self.norm, self.norm_audio = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.ffn = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, ffn * width, bias=False),
            nn.GELU(),
            nn.Linear(ffn * width, width, bias=False),
        )
        self.gate_attention = nn.Parameter(torch.zeros(1))
        self.gate_ffn = nn.Parameter(torch.zeros(1))

    def keys_values(self, audio: AudioContext) -> tuple[Tensor, Tensor]:
        """`[B, heads, m, head size]` each; kept where the context keeps them (inference)."""
        for known in (audio.clip_kv, audio.kv):
            if known is not None and self.layer in known:
                return known[self.layer]
        normed = self.norm_audio(audio.at(self.layer).features.to(self.norm_audio.weight.dtype))
        key, value = (
            proj(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj in (self.k_proj, self.v_proj)
        )
        if audio.kv is not None:
            audio.kv[self.layer] = (key, value)
        return key, value

    def forward(self, hidden: Tensor, audio: AudioContext) -> Tensor:
        """Text `[R, n, D]` in, the same shape out; R is a multiple of the context's B clips. Rows
        without any audio pass unchanged, as without a block."""
        text = hidden.to(self.norm.weight.dtype)
        text = text + self.gate_attention.tanh() * self._attend(self.norm(text), audio)
        text = (text + self.gate_ffn.tanh() * self.ffn(text)).to(hidden.dtype)
        if not audio.padded:
            return text
        has_audio = repeat_rows(audio.at(self.layer).mask.any(-1), len(text))
        return torch.where(has_audio[:, None, None], text, hidden)

    def _attend(self, text: Tensor, audio: AudioContext) -> Tensor:
        rows, n, _ = text.shape
        shared = rows_per_clip(len(audio), rows)
        # Rows about one clip stand in its query length: no text row sees another one here.
        query = self.q_proj(text.reshape(len(audio), shared * n, -1))
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        audio = audio.at(self.layer)
        key, value = self.keys_values(audio)
        mask = None
        if not audio.seen_by_all:
            mask = audio.visible(rows).expand(-1, n, -1).reshape(len(audio), shared * n, -1)
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, mask if mask is None else mask[:, None]
        )
        out = self.o_proj(out.transpose(1, 2).flatten(2))
        if mask is not None:  # text without any audio before it gets nothing, and no NaN
            out = torch.where(mask.any(-1, keepdim=True), out, 0)
        return out.reshape(rows, n, -1)


def attach(
    llm: nn.Module,
    layers: Iterable[int] | None = None,
    every: int = 4,
    heads: int | None = None,
    ffn: int = 4,
) -> nn.ModuleDict:
    """Insert blocks before decoder layers, which attend to `llm(..., cross_audio=AudioContext)`.

    Args:
        llm: a causal LM of transformers whose decoder has `layers`.
        layers: where; None means every `every`-th layer, the last of each group.
        heads: attention heads of a block; None means those of the LLM.
        ffn: width of a block's FFN as a multiple of the LLM's width.

    Returns:
        The blocks by layer index, in the type and on the device of the LLM. They are the caller's
        to keep, train and save: the LLM's state dict does not change.

    Raises:
        ValueError: blocks are attached already, or a layer that the LLM does not have.
    """
    llm = unwrapped(llm)
    decoder = llm.get_decoder()
    if attached(decoder, "cross_audio"):
        raise ValueError("cross attention is attached already; detach it first")
    count = len(decoder.layers)
    chosen = sorted(default_layers(count, every) if layers is None else layers)
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < count:
        raise ValueError(f"cross attention in front of {chosen}; the LLM has layers 0..{count - 1}")
    width = decoder.config.hidden_size
    weight = llm.get_input_embeddings().weight
    heads = heads or decoder.config.num_attention_heads
    blocks = nn.ModuleDict(
        {
            str(index): GatedCrossAttention(width, heads, ffn, index).to(
                weight.device, weight.dtype
            )
            for index in chosen
        }
    )
    hooks = [
        layer.register_forward_pre_hook(_hook(blocks, str(index)), with_kwargs=True)
        for index, layer in enumerate(decoder.layers)
    ]
    # Before LAL's, which counts audio in the position ids that this one reads.
    hooks.append(
        decoder.register_forward_pre_hook(_before_the_layers, with_kwargs=True, prepend=True)
    )
    keep(decoder, "cross_audio", Attachment(hooks))
    generation.accept(llm)
    return blocks


def default_layers(count: int, every: int = 4) -> range:
    """The last layer of every `every`, of `count`."""
    return range(every - 1, count, every)


def detach(llm: nn.Module) -> nn.Module:
    """Undo `attach`; harmless where nothing is attached."""
    model = unwrapped(llm)
    decoder = model.get_decoder()
    if attached(decoder, "cross_audio"):
        release(decoder, "cross_audio")
        generation.refuse(model)
    return llm


@torch.no_grad()
def precompute(blocks: nn.ModuleDict, audio: AudioContext) -> AudioContext:
    """The same context with the K/V of all blocks, for any number of later calls."""
    used = (block for block in blocks.values() if audio.attends_in(block.layer))
    return replace(audio, clip_kv={block.layer: block.keys_values(audio) for block in used})


def _before_the_layers(decoder: nn.Module, args: tuple, kwargs: dict):
    if kwargs.get("audio") is not None and not attached(decoder, "audio"):
        raise ValueError(
            "expected cross_audio= for cross attention, got audio=, which only LAL uses: "
            "call pal_plugin.integration.attach first"
        )
    audio = kwargs.get("cross_audio")
    if audio is None:
        return None
    refuse_reentrant(decoder)
    if isinstance(audio, AudioContext) and audio.places is not None:  # else a layer refuses it
        audio = audio.seen_from(text_index(text_of(args, kwargs), kwargs))
    return args, {**kwargs, "cross_audio": audio}


class _hook:
    """Run a layer's block, if it has one, before the layer; the layer never sees the audio.

    A class and no closure, so that a deep copy of the LLM can be made.
    """

    def __init__(self, blocks: nn.ModuleDict, index: str) -> None:
        self.blocks, self.index = blocks, index

    def __call__(self, layer: nn.Module, args: tuple, kwargs: dict):
        if kwargs.get("cross_audio") is None:
            return None
        kwargs = dict(kwargs)
        audio = kwargs.pop("cross_audio")
        generation.check_context(audio, "cross_audio", args[0].shape[-1])
        if self.index in self.blocks and audio.attends_in(int(self.index)):
            args = (self.blocks[self.index](args[0], audio), *args[1:])
        return args, kwargs
