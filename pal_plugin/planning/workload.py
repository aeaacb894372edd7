"""One training step's worth of input, without data: shapes are those of silence."""

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
    """What one process is given in one step; nothing in it is padded.

    Args:
        clips: of a batch.
        rows_per_clip: questions about each.
        clip_s: seconds of a clip.
        text: tokens of a row: prompt and answer.
        answer: those of them that carry loss, and for which logits are made.
        accumulate: batches per optimizer step.
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
                raise ConfigError(f"a plan needs {_KINDS[name]} as {name}, got {value}")
        if self.answer >= self.text:
            raise ConfigError(
                f"the answer is part of the text, behind the prompt: expected fewer than "
                f"{self.text} tokens, got {self.answer}"
            )

    @property
    def rows(self) -> int:
        """Text rows of a batch."""
        return self.clips * self.rows_per_clip


@dataclass(frozen=True)
class Batch:
    """`samples` as the model takes them (without texts), and ids and mask `[R, n]`."""

    samples: dict[str, Any]
    ids: Tensor
    mask: Tensor

    def tensors(self) -> list[Tensor]:
        parts = [part for audio in self.samples["audio"].values() for part in audio.values()]
        return [*parts, self.ids, self.mask]


def make_batch(model: AudioLLM, work: Workload) -> Batch:
    """A batch on the model's device, the front end run on silence."""
    silence = np.zeros(round(work.clip_s * _RATE_HZ), dtype=np.float32)
    device = model.device
    clip = {  # moved before it is joined, which takes no memory on the meta device
        name: {**entry, "features": entry["features"].to(device)}  # lengths are read, and stay
        for name, entry in model.frontend((silence, _RATE_HZ)).items()
    }
    audio = model.frontend.collate([clip] * work.clips)
    samples: dict[str, Any] = {"audio": audio}
    if work.rows_per_clip > 1:
        samples["clip_index"] = torch.arange(work.clips).repeat_interleave(work.rows_per_clip)
    ids = torch.zeros(work.rows, work.text, dtype=torch.long, device=device)
    return Batch(samples, ids, torch.ones_like(ids))


def loss_of(model: AudioLLM, batch: Batch, answer: int) -> Tensor:
    """The loss as `AudioLLM.forward` computes it; all answers are equally long here, so that no
    position has to be looked up.

    Where `stage.aligns` is set, what dominates there: every audio token against the other words.
    CTC itself is small.
    """
    if model.stage.aligns is not None:
        tokens = model.encode_audio(batch.samples)[model.stage.aligns].features.flatten(0, 1)
        words = model.llm.get_input_embeddings().weight[: 2 * alignment.OTHERS].detach()
        return (tokens.float() @ words.float().T).log_softmax(1).mean()
    hidden = model.hidden_states(batch.samples, batch.ids, batch.mask)
    logits = logits_of(model.llm, hidden[:, -answer - 1 : -1].flatten(0, 1))
    return F.cross_entropy(logits, batch.ids[:, -answer:].flatten())
