"""Log-probabilities of continuations, as `predict_class` ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pal_plugin.batch import Batch
from pal_plugin.models.audio_llm import AudioLLM


@dataclass(frozen=True)
class Score:
    """A continuation of a prompt.

    Attributes:
        log_probability: sum over its tokens, the end token included.
        tokens: how many these are.
        greedy: whether greedy decoding gives this continuation.
    """

    log_probability: float
    tokens: int
    greedy: bool


@torch.no_grad()
def score(model: AudioLLM, samples: Batch, continuations: Sequence[str]) -> list[list[Score]]:
    """The continuations of each prompt, in their order.

    Args:
        samples: as in `AudioLLM.predict_class`, R rows; the clips are encoded once.
        continuations: C, the same for all rows; white space around them does not count.

    Raises:
        ValueError: as `AudioLLM.predict_class`.
    """
    if "audio" in samples:
        samples = {**samples, "audio": model.frontend.joined(samples)}
        samples["audio_tokens"] = model.encode_audio(samples)
    means = model.predict_class(samples, continuations)["scores"].tolist()
    answers = [model.text.answer_ids(text) for text in continuations]
    said = model.generate_ids(model.prompts(samples), max_new_tokens=max(map(len, answers)))
    return [
        [
            Score(mean * len(answer), len(answer), row[: len(answer)] == answer)
            for mean, answer in zip(of_row, answers, strict=True)
        ]
        for of_row, row in zip(means, said.tolist(), strict=True)
    ]
