"""LoRA inside the LLM's own modules, without a wrapper, so the LLM remains the same object."""

from __future__ import annotations

from torch import nn

_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"]
_FFN = ["gate_proj", "up_proj", "down_proj", "gate_up_proj"]
#: Linear layers to adapt. peft uses the names that the LLM has; `qkv_proj` and `gate_up_proj` are
#: Phi-3's, the others are common to all families that LAL supports.
LORA_TARGETS = {"attention": _ATTENTION, "attention_ffn": [*_ATTENTION, *_FFN]}


def add_lora(
    llm: nn.Module, targets: str = "attention", rank: int = 8, alpha: int = 16, dropout: float = 0.0
) -> nn.Module:
    """Injects LoRA adapters in place. Raises ValueError for unknown targets."""
    if targets not in LORA_TARGETS:
        raise ValueError(f"unknown LoRA targets {targets!r}; known: {', '.join(LORA_TARGETS)}")
    from peft import LoraConfig, inject_adapter_in_model  # lazy: only needed for LoRA

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=LORA_TARGETS[targets]
    )
    return inject_adapter_in_model(config, llm)


def merge_lora(llm: nn.Module) -> nn.Module:
    """Merges the adapters into the weights and removes them, in place: an equivalent plain LLM, for
    export.

    Raises:
        ValueError: if there are no adapters, merged weights are non-finite, or weights are
            quantized.
    """
    from peft.tuners.lora import Linear, LoraLayer

    adapted = [(name, m) for name, m in llm.named_modules() if isinstance(m, LoraLayer)]
    if not adapted:
        raise ValueError("the LLM has no LoRA adapters to merge")
    quantized = [name for name, module in adapted if type(module) is not Linear]
    if quantized:
        raise ValueError(
            f"adapters of {type(dict(adapted)[quantized[0]]).__name__} layers cannot be merged "
            f"exactly (e.g. {quantized[0]}); load the LLM with llm.quantize: null"
        )
    for name, module in adapted:
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(llm.get_submodule(parent), child, module.get_base_layer())
    if hasattr(llm, "peft_config"):
        del llm.peft_config
    return llm
