"""Progress of a run: plain values that a checkpoint stores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class EpochStats:
    """Sums over an epoch and all processes.

    Attributes:
        loss_sum: of the `steps` that were applied.
        left_out: skipped steps.
        rows: question-answer pairs.
        tokens: answer tokens.
        text_tokens: tokens of prompts and answers; 0 if the model does not tell.
        audio_s: seconds of audio.
        seconds: of wall time; `waited` of them for data.
        skipped: unusable clips, with the reason.
    """

    loss_sum: float = 0.0
    steps: int = 0
    left_out: int = 0
    clips: int = 0
    rows: int = 0
    tokens: int = 0
    text_tokens: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Means, sums and rates, as logged at the end of an epoch."""
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": self.loss_sum / self.steps if self.steps else None,
            "steps": self.steps,
            "steps_left_out": self.left_out,
            "clips": self.clips,
            "rows": self.rows,
            "audio_s": round(self.audio_s, 2),
            "answer_tokens": self.tokens,
            "text_tokens": self.text_tokens,
            "clips_per_s": round(self.clips / seconds, 2),
            "audio_s_per_s": round(self.audio_s / seconds, 2),
            "data_wait": round(self.waited / seconds, 3),
            "skipped_clips": len(self.skipped),
        }


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        epoch: current epoch, from 0.
        step: steps done in it.
        global_step: steps of all epochs.
        micros: micro-batches consumed by all processes.
        clips: clips of all epochs.
        order: hash over the ids of all samples so far, in the order of their micro-batches.
        recent: losses of the last steps, across epochs.
        positions: by shard stream, the position after its last batch.
        stats: of the epoch.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    micros: int = 0
    clips: int = 0
    order: str = ""
    recent: list[float] = field(default_factory=list)
    positions: dict[int, dict] = field(default_factory=dict)
    stats: EpochStats = field(default_factory=EpochStats)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Progress:
        """The inverse of `to_json`."""
        positions = {int(stream): position for stream, position in kept["positions"].items()}
        return cls(**{**kept, "positions": positions, "stats": EpochStats(**kept["stats"])})

    def begin_epoch(self, epoch: int) -> None:
        """Reset the epoch's step and statistics."""
        self.epoch, self.step, self.stats = epoch, 0, EpochStats()
