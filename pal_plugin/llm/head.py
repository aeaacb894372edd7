"""From hidden states to logits where the decoder is called without its causal LM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def logits_of(llm: nn.Module, hidden: Tensor) -> Tensor:
    """float32 `[..., V]` of hidden states `[..., D]`: the head, and Gemma's cap behind it.

    Called for the positions that are needed only; the causal LM's own forward computes all.
    """
    logits = llm.get_output_embeddings()(hidden).float()
    cap = getattr(llm.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap
