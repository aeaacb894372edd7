"""Candidate answers by their log-likelihood per token, given prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pal_plugin.integration import LLMInputs
from pal_plugin.llm.label_tree import read_prompt
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.llm.ranking import log_probabilities
from pal_plugin.models.context_length import check_context


@torch.no_grad()
def ranked(llm: nn.Module, text: TextFormat, inputs: LLMInputs, candidates: Sequence[str]) -> dict:
    """Runs the prefill of each prompt once, and shares common prefixes of candidates.

    Args:
        inputs: R prompts, left-padded.
        candidates: the possible answers, none blank.

    Returns:
        `predictions`, `scores` and `probabilities` as `AudioLLM.predict_class`.

    Raises:
        ValueError: a prompt and a candidate are longer than the LLM's context.
    """
    answers = [text.answer_ids(candidate) for candidate in candidates]
    check_context(llm.get_decoder().config, inputs, max(map(len, answers)))
    heard = {name: context.with_kv_cache() for name, context in inputs.audio_kwargs.items()}
    prompt = read_prompt(llm, inputs.embeds, inputs.mask, inputs.positions, **heard)
    sums, counts = log_probabilities(llm, prompt, answers, **heard)
    scores = sums / counts
    return {
        "predictions": [candidates[i] for i in scores.argmax(1).tolist()],
        "scores": scores,
        "probabilities": sums.softmax(1),
    }
