"""How the decoder layers of each LLM family compute keys and values, in one table.

LAL needs everything that a layer does before keys and values: the input norm, the projections, the
key norm and the rotary embedding. A new family needs an entry here, and one in the test that
compares it with the equations (`tests/integration/families.py`). For architectures without an entry
one is derived from their modules (`proposed`), if `checking.py` finds it correct.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from pal_plugin.llm.internals import is_offloaded


@dataclass(frozen=True)
class Family:
    """How the layers of one `config.model_type` compute keys and values.

    Args:
        norm: name of the layer's norm before attention; None if there is none.
        key_norm: None, "head" (per head) or "width" (over all heads, before the split).
        fused: queries, keys and values are one projection, `qkv_proj`.
        gain_from_one: the norm multiplies by 1 + weight, in float32 (Gemma), not by weight.
    """

    norm: str | None = "input_layernorm"
    key_norm: str | None = None
    fused: bool = False
    gain_from_one: bool = False


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(),
    "qwen3": Family(key_norm="head"),
    "phi3": Family(fused=True),
    "gemma2": Family(gain_from_one=True),
    "gemma3_text": Family(gain_from_one=True, key_norm="head"),
    "smollm3": Family(),
    "olmo2": Family(norm=None, key_norm="width"),
    "gemma": Family(gain_from_one=True),
    "granite": Family(),
    "granitemoe": Family(),
    "mixtral": Family(),
    "ministral": Family(),
    # Scales queries by position beyond the original context length; LAL's text counts from 0.
    "ministral3": Family(),
    "qwen2_moe": Family(),
    "qwen3_moe": Family(key_norm="head"),
    "gpt_oss": Family(),  # attention sinks: see `Backend.sinks`
}

#: Tested families; entries added later are checked on use. So is GraniteMoE, whose layers do not
#: pass `audio` to the attention in transformers 4.57.
PROVEN = frozenset(FAMILIES) - {"granitemoe"}

#: Rotary embeddings whose frequencies depend on the sequence length, which with audio beside the
#: text is no longer the length that the embedding sees.
LENGTH_DEPENDENT_ROTARY = ("dynamic", "longrope")


@dataclass(eq=False)
class LayerAdapter:
    """What an attention module needs to project audio, stored as `lal_adapter`; not a Module, so
    that no state dict key changes.

    `rotary` takes `(hidden, positions, *rotary_args)`; None for a layer without rotary embedding.
    `checkpoint_kv` and `plain` are arguments of `attach`.
    """

    family: Family
    layer: nn.Module
    rotary: nn.Module | None
    rotary_args: tuple
    rotate: Callable
    checkpoint_kv: bool = True
    plain: bool = False

    def __deepcopy__(self, memo: dict) -> LayerAdapter:
        """If only the attention is copied (peft's `modules_to_save`), keeps its layer."""
        if id(self.layer) not in memo:
            return self
        return LayerAdapter(*(copy.deepcopy(getattr(self, f.name), memo) for f in fields(self)))

    @property
    def norm(self) -> nn.Module | None:
        """Looked up on each call, since peft may replace the module."""
        return getattr(self.layer, self.family.norm) if self.family.norm else None


def text_config(llm: nn.Module):
    """The config of the LLM itself: the text model's, if it is multimodal."""
    return llm.config.get_text_config()


def layer_adapters(llm: nn.Module, family: Family) -> list[tuple[nn.Module, LayerAdapter]]:
    """All attention modules of a causal LM with their adapters, in order of layers.

    Raises:
        TypeError: if a required module is missing, or the rotary embedding is not supported.
    """
    if llm.config.model_type == "paligemma":
        raise TypeError(
            "PaliGemma counts positions from 1 and attends to its prompt bidirectionally, which "
            "LAL does not support; load the text model alone (Gemma)"
        )
    missing = _missing_parts(llm)
    if missing:
        raise TypeError(
            f"LAL cannot project audio in {type(llm).__name__} ({text_config(llm).model_type!r}): "
            f"it lacks {'; '.join(missing)}. Known families: {', '.join(FAMILIES)}"
        )
    kinds = _rotary_kinds(text_config(llm)) & set(LENGTH_DEPENDENT_ROTARY)
    if kinds:
        raise TypeError(
            f"the rotary embedding is {', '.join(sorted(kinds))!r}: its frequencies change with "
            "the sequence length, which is untested with LAL's audio positions. Load the LLM "
            "with another rope type (config.rope_scaling or config.rope_parameters)"
        )
    decoder = llm.get_decoder()
    return [
        (layer.self_attn, _adapter(family, decoder, layer, index))
        for index, layer in enumerate(decoder.layers)
    ]


def proposed(llm: nn.Module) -> Family:
    """Derives the entry of an unlisted architecture from its modules. A guess, to be checked.

    Raises:
        TypeError: if a required module is missing.
    """
    layer_adapters(llm, Family(norm=None))  # raises if anything is missing
    layer = llm.get_decoder().layers[0]
    attention = layer.self_attn
    norm = next((name for name in _INPUT_NORMS if hasattr(layer, name)), None)
    key_norm = None
    if hasattr(attention, "k_norm"):
        heads = sum(p.numel() for p in attention.k_norm.parameters()) == attention.head_dim
        key_norm = "head" if heads else "width"
    from_one = norm is not None and _gains_from_one(getattr(layer, norm))
    return Family(norm, key_norm, hasattr(attention, "qkv_proj"), from_one)


def _adapter(family: Family, decoder: nn.Module, layer: nn.Module, index: int) -> LayerAdapter:
    attention = layer.self_attn
    code = sys.modules[type(attention).__module__]
    rotary, arguments = decoder.rotary_emb, ()
    if hasattr(decoder, "rotary_emb_local"):  # Gemma 3 in transformers 4: two base frequencies
        rotary = decoder.rotary_emb_local if attention.is_sliding else rotary
    elif "layer_type" in inspect.signature(rotary.forward).parameters:  # later, and others
        arguments = (decoder.config.layer_types[index],)
    if not getattr(attention, "use_rope", True):  # SmolLM3 has layers without
        rotary = None
    return LayerAdapter(family, layer, rotary, arguments, code.apply_rotary_pos_emb)


def norms_are_shared(adapters: list[tuple[nn.Module, LayerAdapter]]) -> bool:
    """Whether the norms of all layers normalize equally and only differ in their weights."""
    norms = [adapter.norm for _, adapter in adapters]
    kinds = {(type(norm), _epsilon(norm)) for norm in norms}
    return len(kinds) == 1 and _is_rms_norm(norms[0]) and not is_offloaded(norms[0])


def _is_rms_norm(norm: nn.Module) -> bool:
    """Whether it is one of transformers' own, not replaced by peft or a user."""
    ours = type(norm).__module__.startswith("transformers.models.")
    return ours and type(norm).__name__.endswith("RMSNorm") and _epsilon(norm) is not None


def _epsilon(norm: nn.Module) -> float | None:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))


def normalise(adapter: LayerAdapter, hidden: Tensor) -> Tensor:
    """The computation that all layers' norms share: H over its root mean square, `[B, m, D]`.

    In the dtype in which the layers' weights are applied (`scale`).
    """
    full = hidden.float()
    full = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + _epsilon(adapter.norm))
    return full if adapter.family.gain_from_one else full.to(hidden.dtype)


def scale(
    adapter: LayerAdapter, normed: Tensor, kind: torch.dtype, heard_with: Tensor | None = None
) -> Tensor:
    """Applies a layer's norm weight to normalized audio, in dtype `kind`.

    Args:
        normed: `[B, m, D]`, from `normalise`.
        heard_with: `[m, 1]`, LAL's gain. The two gains are multiplied first, so that backward
            stores this product without a batch dimension instead of the one with `normed`.
    """
    gain = adapter.norm.weight
    if adapter.family.gain_from_one:
        gain = 1.0 + gain.float()
    if heard_with is not None:
        gain = gain * heard_with.to(gain.dtype)
    return (gain * normed).to(kind)


def project(attention: nn.Module, adapter: LayerAdapter, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys before the rotary embedding, and values of one layer.

    Calls modules rather than using their weights: LoRA and sharding live in the modules.

    Args:
        hidden: `[B, m, D]`, after the layer's norm.

    Returns:
        Both `[B, key heads, m, head size]`.
    """
    if adapter.family.fused:
        key, value = _fused(attention, hidden)
    else:
        key, value = attention.k_proj(hidden), attention.v_proj(hidden)
    if adapter.family.key_norm == "width":
        key = attention.k_norm(key)
    heads = (key.shape[-1] // attention.head_dim, attention.head_dim)
    key, value = key.unflatten(-1, heads), value.unflatten(-1, heads)
    if adapter.family.key_norm == "head":
        key = attention.k_norm(key)
    return key.transpose(1, 2), value.transpose(1, 2)


def projections(attention: nn.Module, adapter: LayerAdapter) -> list[nn.Module]:
    """The modules that `project` applies to its input."""
    if adapter.family.fused:
        return [attention.qkv_proj]
    return [attention.k_proj, attention.v_proj]


def _fused(attention: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a `qkv_proj`; a plain Linear skips the queries, which audio lacks."""
    width = attention.num_key_value_heads * attention.head_dim
    linear = attention.qkv_proj
    if type(linear) is nn.Linear and not is_offloaded(linear):
        bias = None if linear.bias is None else linear.bias[-2 * width :]
        both = nn.functional.linear(hidden, linear.weight[-2 * width :], bias)
    else:
        both = linear(hidden)[..., -2 * width :]
    return both[..., :width], both[..., width:]


def rotary_table(adapter: LayerAdapter, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin at `positions` `[B or 1, m]`, `[B or 1, m, head size]` in `like`'s dtype."""
    with torch.no_grad():
        return adapter.rotary(like, positions, *adapter.rotary_args)


def rotate(adapter: LayerAdapter, key: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Applies the rotary embedding to keys `[B, key heads, m, head size]`."""
    no_queries = key[:, :0]  # the models' function rotates queries and keys in one call
    return adapter.rotate(no_queries, key, *table)[1]


def embedding_scale(llm: nn.Module) -> float:
    """The factor that the decoder applies to `inputs_embeds` before the first layer.

    1, except for Granite, and for Gemma 1 and 2 in transformers 4, whose decoder scales all inputs
    (later the embedding does). Prepended audio (PLITS) must be divided by it, to enter unscaled.
    """
    config = text_config(llm)
    if config.model_type in ("gemma", "gemma2"):
        embedding = llm.get_input_embeddings()
        embedding = getattr(embedding, "base_layer", embedding)  # inside of a LoRA layer
        return 1.0 if hasattr(embedding, "embed_scale") else config.hidden_size**0.5
    return float(getattr(llm.get_decoder(), "embedding_multiplier", 1.0))


def _rotary_kinds(config) -> set[str]:
    """Names of the rotary embeddings in a config of transformers 4 (`rope_scaling`) or 5."""
    found = set()
    for section in (getattr(config, n, None) for n in ("rope_scaling", "rope_parameters")):
        if not isinstance(section, dict):
            continue
        for entry in (section, *section.values()):  # Gemma 3: one entry per kind of layer
            if isinstance(entry, dict):
                found.add(entry.get("rope_type", entry.get("type", "default")))
    return found


def _missing_parts(llm: nn.Module) -> list[str]:
    """Modules required by LAL that an architecture does not have."""
    try:
        decoder = llm.get_decoder()
    except (AttributeError, NotImplementedError):
        decoder = llm
    layers = getattr(decoder, "layers", None)
    attention = [getattr(layer, "self_attn", None) for layer in layers or ()]
    first = next((module for module in attention if module is not None), None)
    wrapped = {type(a).__name__ for a in attention if type(a).__module__.startswith("peft.")}
    if wrapped:
        return [f"its own attention modules: peft wrapped them ({wrapped.pop()}); attach first"]
    code = sys.modules[type(first).__module__] if first is not None else None
    projects = hasattr(first, "qkv_proj") or (hasattr(first, "k_proj") and hasattr(first, "v_proj"))
    needs = {
        "`layers` in the decoder": layers,
        "`rotary_emb` in the decoder": getattr(decoder, "rotary_emb", None),
        "`self_attn` in each layer": all(attention) or None if attention else None,
        "`k_proj` and `v_proj`, or `qkv_proj`, in the attention": projects or None,
        "`head_dim` in the attention": getattr(first, "head_dim", None),
        "`apply_rotary_pos_emb` in its file": getattr(code, "apply_rotary_pos_emb", None),
        "`eager_attention_forward` in its file": getattr(code, "eager_attention_forward", None),
    }
    return [name for name, found in needs.items() if found is None]


#: Names of the norm before attention, in the order they are tried.
_INPUT_NORMS = ("input_layernorm", "attention_layernorm", "attn_norm", "pre_attention_layernorm")


def _gains_from_one(norm: nn.Module) -> bool:
    """Whether a norm multiplies by 1 + weight, found by a probe."""
    weight = getattr(norm, "weight", None)
    if weight is None or weight.is_meta:
        return False
    probe = torch.ones_like(weight)
    probe[1::2] = -1  # root mean square 1, mean 0
    with torch.no_grad():
        gain = norm(probe) * probe
    return bool((gain - weight - 1).abs().max() < 0.1)
