"""Logits from hidden states, where the decoder is called without its causal LM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def logits_of(llm: nn.Module, hidden: Tensor) -> Tensor:
    """Logits, float32 `[..., V]`, of hidden states `[..., D]`: the head, and family-specific
    scaling.

    Only called for the positions needed; the causal LM's own forward computes all.
    `integration.check_family` compares the two.
    """
    config = llm.config.get_text_config()
    logits = llm.get_output_embeddings()(hidden).float()
    if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
        logits = logits / divisor
    if (factor := getattr(config, "logit_scale", None)) is not None:  # Cohere
        logits = logits * factor
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    return logits if cap is None else torch.tanh(logits / cap) * cap
