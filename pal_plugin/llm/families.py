"""What the decoder layers of each LLM family do to make keys and values, in one table.

LAL needs of a layer what stands before its keys and values: the input norm, the projections, the
key norm and the rotary embedding. A new family is one entry here, and one in the test that compares
it with the equations (`tests/integration/families.py`). An architecture without an entry gets the
one that its modules suggest (`proposed`), if `checking.py` finds it right.
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
    """How keys and values come about in the layers of one `config.model_type`.

    Args:
        norm: name of the layer's norm in front of the attention; None where there is none.
        key_norm: None, "head" (over each head) or "width" (over all of them, before the split).
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
    # Scales queries by their position beyond its original length; LAL's text counts from 0.
    "ministral3": Family(),
    "qwen2_moe": Family(),
    "qwen3_moe": Family(key_norm="head"),
    "gpt_oss": Family(),  # attention sinks: see `Backend.sinks`
}

#: Those above are tested; an entry that somebody adds later is checked when it is used. So is
#: GraniteMoE, whose layers keep `audio` from the attention in transformers 4.57.
PROVEN = frozenset(FAMILIES) - {"granitemoe"}

#: Rotary embeddings whose frequencies depend on the length of the sequence, which with audio
#: beside the text is no longer what the embedding sees.
LENGTH_DEPENDENT_ROTARY = ("dynamic", "longrope")


@dataclass(eq=False)
class LayerAdapter:
    """What one attention module, in its `lal_adapter`, needs to project audio; not a Module, so no
    key changes.

    `rotary` takes `(hidden, positions, *rotary_args)`; None for a layer without rotary embedding.
    `checkpoint_kv` and `plain` are those of `attach`.
    """

    family: Family
    layer: nn.Module
    rotary: nn.Module | None
    rotary_args: tuple
    rotate: Callable
    checkpoint_kv: bool = True
    plain: bool = False

    def __deepcopy__(self, memo: dict) -> LayerAdapter:
        """Where attention is copied alone (peft's `modules_to_save`), its layer stays."""
        if id(self.layer) not in memo:
            return self
        return LayerAdapter(*(copy.deepcopy(getattr(self, f.name), memo) for f in fields(self)))

    @property
    def norm(self) -> nn.Module | None:
        """Looked up at each call: peft may put another module in its place."""
        return getattr(self.layer, self.family.norm) if self.family.norm else None


def text_config(llm: nn.Module):
    """The config of the LLM itself: of the text model inside a multimodal one."""
    return llm.config.get_text_config()


def layer_adapters(llm: nn.Module, family: Family) -> list[tuple[nn.Module, LayerAdapter]]:
    """Every attention module of a causal LM with its adapter, in the order of the layers.

    Raises:
        TypeError: a part that LAL needs is not there, or the rotary embedding is not supported.
    """
    if llm.config.model_type == "paligemma":
        raise TypeError(
            "PaliGemma counts positions from 1 and reads its prompt in both directions, which LAL "
            "does not know; load the text model alone (Gemma)"
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
            "the length of the text, and LAL's audio positions were not tested with it. Load the "
            "LLM with another rope type (config.rope_scaling or config.rope_parameters)"
        )
    decoder = llm.get_decoder()
    return [
        (layer.self_attn, _adapter(family, decoder, layer, index))
        for index, layer in enumerate(decoder.layers)
    ]


def proposed(llm: nn.Module) -> Family:
    """The entry that the modules of an unlisted architecture suggest. A guess, to be checked.

    Raises:
        TypeError: a part that LAL needs is not there.
    """
    layer_adapters(llm, Family(norm=None))  # names what is missing
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
    if hasattr(decoder, "rotary_emb_local"):  # Gemma 3 in transformers 4: two wavelengths
        rotary = decoder.rotary_emb_local if attention.is_sliding else rotary
    elif "layer_type" in inspect.signature(rotary.forward).parameters:  # later, and others
        arguments = (decoder.config.layer_types[index],)
    if not getattr(attention, "use_rope", True):  # SmolLM3 has layers without
        rotary = None
    return LayerAdapter(family, layer, rotary, arguments, code.apply_rotary_pos_emb)


def norms_are_shared(adapters: list[tuple[nn.Module, LayerAdapter]]) -> bool:
    """Whether the norms of all layers normalise alike and differ in their gains only."""
    norms = [adapter.norm for _, adapter in adapters]
    kinds = {(type(norm), _epsilon(norm)) for norm in norms}
    return len(kinds) == 1 and _is_rms_norm(norms[0]) and not is_offloaded(norms[0])


def _is_rms_norm(norm: nn.Module) -> bool:
    """One of transformers' own, and not what peft or a user put in its place."""
    ours = type(norm).__module__.startswith("transformers.models.")
    return ours and type(norm).__name__.endswith("RMSNorm") and _epsilon(norm) is not None


def _epsilon(norm: nn.Module) -> float | None:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))


def normalise(adapter: LayerAdapter, hidden: Tensor) -> Tensor:
    """What the norms of all layers have in common: H over its root mean square, `[B, m, D]`.

    In the type in which the layers' gains are applied (`scale`).
    """
    full = hidden.float()
    full = full * torch.rsqrt(full.square().mean(-1, keepdim=True) + _epsilon(adapter.norm))
    return full if adapter.family.gain_from_one else full.to(hidden.dtype)


def scale(
    adapter: LayerAdapter, normed: Tensor, kind: torch.dtype, heard_with: Tensor | None = None
) -> Tensor:
    """A layer's own part of its norm: its gain, in type `kind`.

    Args:
        heard_with: `[m, 1]`, the audio's own gain on top. The two are multiplied first: for the
            backward pass this product is kept, which has no batch, and not that with `normed`.
    """
    gain = adapter.norm.weight
    if adapter.family.gain_from_one:
        gain = 1.0 + gain.float()
    if heard_with is not None:
        gain = gain * heard_with.to(gain.dtype)
    return (gain * normed).to(kind)


def project(attention: nn.Module, adapter: LayerAdapter, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys, before the rotary embedding, and values of one layer.

    Modules are called, not their weights: LoRA and sharding live in the modules.

    Args:
        hidden: `[B, m, D]`, behind the layer's norm.

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
    """The modules that `project` gives its input to."""
    if adapter.family.fused:
        return [attention.qkv_proj]
    return [attention.k_proj, attention.v_proj]


def _fused(attention: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a `qkv_proj`; a plain Linear is spared the queries, which audio lacks."""
    width = attention.num_key_value_heads * attention.head_dim
    linear = attention.qkv_proj
    if type(linear) is nn.Linear and not is_offloaded(linear):
        bias = None if linear.bias is None else linear.bias[-2 * width :]
        both = nn.functional.linear(hidden, linear.weight[-2 * width :], bias)
    else:
        both = linear(hidden)[..., -2 * width :]
    return both[..., :width], both[..., width:]


def rotary_table(adapter: LayerAdapter, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin at `positions` `[B or 1, m]`, in the type of `like`."""
    with torch.no_grad():
        return adapter.rotary(like, positions, *adapter.rotary_args)


def rotate(adapter: LayerAdapter, key: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """The rotary embedding of keys `[B, key heads, m, head size]`."""
    no_queries = key[:, :0]  # the models' function turns queries and keys in one call
    return adapter.rotate(no_queries, key, *table)[1]


def embedding_scale(llm: nn.Module) -> float:
    """What the decoder multiplies `inputs_embeds` with before the first layer.

    1, but for Granite, and for Gemma 1 and 2 on transformers 4, whose decoder scales whatever it is
    given (later the embedding does). Audio that is prepended must be divided by it (PLITS), to
    enter as it is.
    """
    config = text_config(llm)
    if config.model_type in ("gemma", "gemma2"):
        embedding = llm.get_input_embeddings()
        embedding = getattr(embedding, "base_layer", embedding)  # inside of a LoRA layer
        return 1.0 if hasattr(embedding, "embed_scale") else config.hidden_size**0.5
    return float(getattr(llm.get_decoder(), "embedding_multiplier", 1.0))


def _rotary_kinds(config) -> set[str]:
    """Names of the rotary embeddings in a config, of transformers 4 (`rope_scaling`) or 5."""
    found = set()
    for section in (getattr(config, n, None) for n in ("rope_scaling", "rope_parameters")):
        if not isinstance(section, dict):
            continue
        for entry in (section, *section.values()):  # Gemma 3: one entry per kind of layer
            if isinstance(entry, dict):
                found.add(entry.get("rope_type", entry.get("type", "default")))
    return found


def _missing_parts(llm: nn.Module) -> list[str]:
    """Which of the parts that LAL needs an architecture does not have."""
    try:
        decoder = llm.get_decoder()
    except (AttributeError, NotImplementedError):
        decoder = llm
    layers = getattr(decoder, "layers", None)
    attention = [getattr(layer, "self_attn", None) for layer in layers or ()]
    first = next((module for module in attention if module is not None), None)
    wrapped = {type(a).__name__ for a in attention if type(a).__module__.startswith("peft.")}
    if wrapped:
        return [f"attention modules of its own: peft put {wrapped.pop()} there; attach before that"]
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


#: What the norm in front of the attention is called, in the order in which names are looked for.
_INPUT_NORMS = ("input_layernorm", "attention_layernorm", "attn_norm", "pre_attention_layernorm")


def _gains_from_one(norm: nn.Module) -> bool:
    """Whether a norm multiplies by 1 + weight, found by asking it."""
    weight = getattr(norm, "weight", None)
    if weight is None or weight.is_meta:
        return False
    probe = torch.ones_like(weight)
    probe[1::2] = -1  # of root mean square 1 and mean 0
    with torch.no_grad():
        gain = norm(probe) * probe
    return bool((gain - weight - 1).abs().max() < 0.1)
