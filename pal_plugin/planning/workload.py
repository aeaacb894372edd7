"""Synthetic input of one training step: silence, with realistic shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pal_plugin.config.kinds import Number
from pal_plugin.config.ranges import BATCH, CLIP_S, TEXT_TOKENS
from pal_plugin.llm.head import logits_of
from pal_plugin.models import alignment
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.utils.errors import ConfigError

_RATE_HZ = 16_000
_KINDS = {
    "clips": BATCH,
    "rows_per_clip": BATCH,
    "clip_s": CLIP_S,
    "text": TEXT_TOKENS,
    "answer": TEXT_TOKENS,
    "accumulate": Number(1, whole=True),
}


@dataclass(frozen=True)
class Workload:
    """Input of one process and step, without padding.

    Args:
        clips: per batch.
        rows_per_clip: questions per clip.
        clip_s: seconds of a clip.
        text: tokens of a row, prompt and answer.
        answer: tokens of the answer, which have logits and a loss.
        accumulate: micro-batches per optimizer step.

    Raises:
        ConfigError: a value out of its range.
    """

    clips: int
    rows_per_clip: int = 1
    clip_s: float = 10.0
    text: int = 128
    answer: int = 64
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not _KINDS[name].holds(value):
                raise ConfigError(f"plan: expected {_KINDS[name]} as {name}, got {value}")
        if self.answer >= self.text:
            raise ConfigError(
                f"the answer is part of the text, after the prompt: expected fewer than "
                f"{self.text} tokens, got {self.answer}"
            )

    @property
    def rows(self) -> int:
        """Questions per batch."""
        return self.clips * self.rows_per_clip


@dataclass(frozen=True)
class Batch:
    """A tokenized batch of R rows with n tokens.

    Attributes:
        samples: as the model takes them, without texts.
        ids, mask: `[R, n]`.
    """

    samples: dict[str, Any]
    ids: Tensor
    mask: Tensor

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch, of various shapes [...]."""
        parts = [part for audio in self.samples["audio"].values() for part in audio.values()]
        return [*parts, self.ids, self.mask]


def make_batch(model: AudioLLM, work: Workload) -> Batch:
    """A batch of silence on the model's device, with the features of the model's front end."""
    silence = np.zeros(round(work.clip_s * _RATE_HZ), dtype=np.float32)
    device = model.device
    clip = {  # moved before collating, which takes no memory on the meta device
        name: {**entry, "features": entry["features"].to(device)}  # lengths are read: keep values
        for name, entry in model.frontend((silence, _RATE_HZ)).items()
    }
    audio = model.frontend.collate([clip] * work.clips)
    samples: dict[str, Any] = {"audio": audio}
    if work.rows_per_clip > 1:
        samples["clip_index"] = torch.arange(work.clips).repeat_interleave(work.rows_per_clip)
    ids = torch.zeros(work.rows, work.text, dtype=torch.long, device=device)
    return Batch(samples, ids, torch.ones_like(ids))


def loss_of(model: AudioLLM, batch: Batch, answer: int) -> Tensor:
    """The scalar loss as `AudioLLM.forward` computes it, for answers of equal length.

    Where `stage.aligns` is set, its dominating part: logits of every audio token over the other
    words. CTC itself is small.
    """
    if model.stage.aligns is not None:
        tokens = model.encode_audio(batch.samples)[model.stage.aligns].features.flatten(0, 1)
        words = model.llm.get_input_embeddings().weight[: 2 * alignment.OTHERS].detach()
        return (tokens.float() @ words.float().T).log_softmax(1).mean()
    hidden = model.hidden_states(batch.samples, batch.ids, batch.mask)
    logits = logits_of(model.llm, hidden[:, -answer - 1 : -1].flatten(0, 1))
    return F.cross_entropy(logits, batch.ids[:, -answer:].flatten())
