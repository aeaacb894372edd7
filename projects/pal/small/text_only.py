"""The LLM of a model type without audio: it ranks candidates from text alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pal_plugin.config.zoo import type_section
from pal_plugin.llm.label_tree import read_prompt
from pal_plugin.llm.loading import load_llm
from pal_plugin.llm.ranking import log_probabilities
from pal_plugin.utils.locations import resolve


class TextOnly:
    """The LLM and its prompt format.

    Args:
        model_type: in the zoo; its encoders are not loaded.

    Raises:
        ValueError: unknown type.
        FileNotFoundError: its LLM is not available; says how to get it.
    """

    def __init__(self, model_type: str) -> None:
        settings = type_section(model_type)["llm"]
        self.llm, self.text = load_llm(**{**settings, "path": resolve(settings["path"])})
        self.llm.eval()

    @torch.no_grad()
    def choose(self, prompt: str, candidates: Sequence[str]) -> str:
        """The candidate of highest likelihood per token, as in `AudioLLM.predict_class`."""
        ids = torch.tensor([self.text.prompt_ids(prompt)])
        embeds = self.llm.get_input_embeddings()(ids)
        positions = torch.arange(ids.shape[1])[None]
        read = read_prompt(self.llm, embeds, torch.ones_like(ids), positions)
        answers = [self.text.answer_ids(candidate) for candidate in candidates]
        sums, counts = log_probabilities(self.llm, read, answers)
        return candidates[int((sums / counts)[0].argmax())]
