"""Tiny random models of all families, with what sets each apart from Llama switched on.

Norm weights and biases are random as well: at their initial ones and zeros an error in them would
not show. All versions of transformers get the same weights from the same seed.
"""

from __future__ import annotations

import torch
import transformers
from packaging.version import Version
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

WIDTH, VOCAB, WINDOW = 32, 50, 3

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
# Neither the width over the heads nor the one that queries are scaled by.
_WIDE_HEADS = {"head_dim": 16, "query_pre_attn_scalar": 24}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_GRANITE = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.4,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
_QWEN_EXPERTS = {"num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 16}


#: Name -> model type of transformers and what differs from `COMMON`.
FAMILIES = {
    "llama": ("llama", {"rope_scaling": _LLAMA3}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "phi3": ("phi3", {}),
    "gemma2": (
        "gemma2",
        {
            **_WIDE_HEADS,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 3.0,
            "sliding_window": WINDOW,  # in every other layer
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            **_WIDE_HEADS,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_theta": 1000.0,
            "rope_local_base_freq": 10.0,  # few positions: apart only if both rotate enough
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},  # of the full layers only
        },
    ),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 0]}),
    "olmo2": ("olmo2", {}),
    "gemma": ("gemma", {"head_dim": 16}),
    "granite": ("granite", _GRANITE),
    "granitemoe": ("granitemoe", {**_GRANITE, **_EXPERTS}),
    "mixtral": ("mixtral", {**_EXPERTS, "sliding_window": WINDOW}),
    "ministral": (
        "ministral",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "ministral3": ("ministral3", {"head_dim": 16, "max_position_embeddings": 262144}),
    "qwen2_moe": ("qwen2_moe", {**_QWEN_EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen3_moe": ("qwen3_moe", {**_QWEN_EXPERTS, "head_dim": 16}),
    "gpt_oss": (
        "gpt_oss",
        {
            **_EXPERTS,
            "head_dim": 16,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}
#: In transformers 4.57 GraniteMoE is deaf, Qwen2-MoE has an attention of its own; both are refused.
NEWER = ("granitemoe", "qwen2_moe") if Version(transformers.__version__).major < 5 else ()
#: Older versions lack some.
FAMILIES = {
    name: case for name, case in FAMILIES.items() if case[0] in CONFIG_MAPPING and name not in NEWER
}
#: Those whose attention sdpa does not compute: soft-capping, attention sinks.
NO_SDPA = ("gemma2", "gpt_oss")
VARIANTS = {
    "mistral_window": ("mistral", {"sliding_window": WINDOW}),
    "qwen2_window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen2_yarn": ("qwen2", {"rope_scaling": _YARN}),
    "phi3_window": ("phi3", {"sliding_window": WINDOW}),
    "phi3_partial": ("phi3", {"partial_rotary_factor": 0.5}),
    "smollm3_window": (
        "smollm3",
        {"use_sliding_window": True, "sliding_window": WINDOW, "no_rope_layers": [1, 0, 1]},
    ),
}
CASES = {**FAMILIES, **VARIANTS}
WINDOWED = [name for name, (_, special) in CASES.items() if special.get("sliding_window")]


def build(
    name: str, backend: str = "eager", seed: int = 0, window: int = WINDOW, **overrides
) -> PreTrainedModel:
    """A model in eval mode.

    Args:
        name: one of `CASES`.
        window: size of the sliding window, for those that have one.
        overrides: fields of the config.
    """
    kind, special = CASES[name]
    settings = {**COMMON, **special}
    if name in WINDOWED:
        settings["sliding_window"] = window
    config = AutoConfig.for_model(kind, **settings | overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # attention sinks start at random
        llm = AutoModelForCausalLM.from_config(config, attn_implementation=backend)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in llm.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:  # norms and biases, around where their family starts them
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return llm.eval()
