"""The next token of one answer, by what its request says and its own source of randomness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from pal_plugin.serving.requests import Request

#: What an LLM's generation config may set that changes the scores of tokens, and with what value it
#: does not; in `generate`'s order.
_APPLIED = (
    ("repetition_penalty", 1.0, RepetitionPenaltyLogitsProcessor),
    ("no_repeat_ngram_size", 0, NoRepeatNGramLogitsProcessor),
    ("suppress_tokens", [], SuppressTokensLogitsProcessor),
)
_NOT_APPLIED = (
    *("sequence_bias", "bad_words_ids", "min_length", "min_new_tokens", "forced_bos_token_id"),
    *("forced_eos_token_id", "exponential_decay_length_penalty", "begin_suppress_tokens"),
    *("watermarking_config", "guidance_scale"),
)


def defaults_of(config: GenerationConfig) -> list[LogitsProcessor]:
    """What an LLM's generation config asks of every answer. (How to sample is for the request to
    say.)

    Raises:
        ValueError: it asks for what is not done here.
    """
    if others := [name for name in _NOT_APPLIED if getattr(config, name, None)]:
        raise ValueError(
            f"the LLM's generation_config sets {', '.join(others)}, which is not applied to "
            "answers that are generated together: set it to None"
        )
    given = ((getattr(config, name, None), without, make) for name, without, make in _APPLIED)
    return [make(value) for value, without, make in given if value not in (None, without)]


class Choice:
    """Chooses the tokens of one answer.

    Args:
        request: temperature, `top_p` and seed.
        defaults: what the LLM asks of every answer.
        device: of the logits.
    """

    def __init__(
        self, request: Request, defaults: Sequence[LogitsProcessor], device: torch.device
    ) -> None:
        steps, self._generator = list(defaults), None
        if request.temperature > 0:
            self._generator = torch.Generator(device)
            if request.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(request.seed)
            steps.append(TemperatureLogitsWarper(float(request.temperature)))
            if request.top_p < 1:
                steps.append(TopPLogitsWarper(float(request.top_p)))
        self._processors = LogitsProcessorList(steps)

    @property
    def is_likeliest(self) -> bool:
        """Whether the likeliest token is chosen, whatever came before."""
        return not self._processors

    def __call__(self, ids: Sequence[int], logits: Tensor) -> int:
        """The next token.

        Args:
            ids: the answer so far.
            logits: float32 `[V]`.
        """
        so_far = torch.tensor([ids], dtype=torch.long, device=logits.device)
        scores = self._processors(so_far, logits[None])
        if self._generator is None:
            return int(scores.argmax(-1))
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))
