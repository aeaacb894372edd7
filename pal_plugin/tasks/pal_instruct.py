"""`pal_instruct`: answers about audio, of four kinds in one batch.

Classification ranks the candidate answers, questions are answered freely and compared exactly,
transcripts are scored by word errors, captions by the loss of the reference. Each row is answered
a second time with its audio masked: what is right then was never heard.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from lavis.common.registry import registry
from lavis.tasks.base_task import BaseTask

from pal_plugin.errors import ConfigError
from pal_plugin.merging import did_you_mean
from pal_plugin.tasks import metrics
from pal_plugin.tasks.rows import masked, row_count, take_rows


@registry.register_task("pal_instruct")
class PalInstructTask(BaseTask):
    """Trains on answers and evaluates them by kind.

    Args:
        masked_audio: evaluate a second time with the audio masked out.
        max_new_tokens: length limit of generated answers.
        caption_examples: captions generated per split, for reading.
        select_by: see `metrics.select`; None where nothing is selected.
    """

    def __init__(
        self,
        masked_audio: bool = True,
        max_new_tokens: int = 32,
        caption_examples: int = 4,
        select_by: str | None = "accuracy",
    ) -> None:
        super().__init__()
        self.masked_audio, self.max_new_tokens = masked_audio, max_new_tokens
        self.caption_examples, self.select_by = caption_examples, select_by
        self._captions_left = caption_examples

    @classmethod
    def setup_task(cls, cfg: Any) -> PalInstructTask:
        """From the `run:` section."""
        run = cfg.run_cfg
        return cls(
            masked_audio=bool(run.masked_audio),
            max_new_tokens=int(run.max_new_tokens),
            caption_examples=int(run.caption_examples),
            select_by=None if run.evaluate else str(run.select_by),
        )

    def build_datasets(self, cfg: Any) -> dict[str, dict[str, Any]]:
        """`{dataset: {split: dataset}}` of the `datasets:` section, for the splits of the run.

        Raises:
            ConfigError: no dataset, or one that cannot be built; says which and why.
        """
        if not cfg.datasets_cfg:
            raise ConfigError("datasets: names no dataset")
        run, built = cfg.run_cfg, {}
        splits = {*run.valid_splits, *run.test_splits}
        if not run.evaluate:
            splits |= set(run.train_splits)
        for name, config in cfg.datasets_cfg.items():
            builder_class = registry.get_builder_class(config.get("builder", name))
            if builder_class is None:
                known = registry.list_datasets()
                raise ConfigError(
                    f"no dataset named {name!r} is registered. {did_you_mean(name, known)}"
                )
            try:
                builder = builder_class(config)
                builder.splits = splits
                built[name] = builder.build_datasets()
            except ConfigError as error:
                raise ConfigError(f"datasets.{name}: {error}") from error
        return built

    def train_step(self, model: Any, samples: dict) -> torch.Tensor:
        """The loss of a batch."""
        return model(samples)["loss"]

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Start the count of generated captions anew."""
        self._captions_left = self.caption_examples

    def valid_step(self, model: Any, samples: dict) -> list[dict]:
        """Answer every row of a batch.

        Returns:
            one dict per row, in the batch's order: `id, sample_id, task, question_type, question,
            reference, answers`, then `prediction` and `prediction_masked`; captions have `loss`
            and `loss_masked`, and predictions for the first few only.
        """
        if not row_count(samples):
            return []
        samples = self._encoded(model, samples)
        rows: list[dict | None] = [None] * row_count(samples)
        for (task, candidates), index in _groups(samples).items():
            part = take_rows(samples, index)
            answers = self._answers(model, task, candidates, part)
            for row, place in enumerate(index):
                rows[place] = _facts(part, row) | {k: v[row] for k, v in answers.items()}
        return rows

    def after_evaluation(
        self, val_result: list[dict], split_name: str, epoch: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Metrics by task and question type, and `agg_metrics` that selects the best epoch.

        Raises:
            ConfigError: `select_by` names a figure that these rows do not give.
        """
        entries = metrics.summarise(val_result, masked=self.masked_audio)
        agg = None
        if self.select_by is not None:
            agg = metrics.select(entries, self.select_by, metrics.task_names(val_result))
        for row in val_result:
            if row["task"] == "caption" and row["prediction"]:
                logging.info(
                    "%s caption of %s: %r (reference %r)",
                    split_name,
                    row["sample_id"],
                    row["prediction"],
                    row["reference"],
                )
        return {**entries, "agg_metrics": agg}

    def _encoded(self, model: Any, samples: dict) -> dict:
        """Run the encoders once per clip; every further call reuses their tokens."""
        if not hasattr(model, "encode_audio"):
            return samples
        tokens = model.encode_audio(samples)
        return {k: v for k, v in samples.items() if k != "audio"} | {"audio_tokens": tokens}

    def _answers(
        self, model: Any, task: str, candidates: tuple[str, ...] | None, part: dict
    ) -> dict[str, list]:
        passes = {"": part} | ({"_masked": masked(part)} if self.masked_audio else {})
        if task == "caption":
            return self._captions(model, passes)
        answers = {}
        for key, samples in passes.items():
            if task == "classification":
                said = model.predict_class(samples, candidates=list(candidates))["predictions"]
            elif task == "transcript":
                said = model.generate(samples, max_new_tokens=self.max_new_tokens)
            else:
                said = model.predict_answers(samples, max_new_tokens=self.max_new_tokens)
            answers[f"prediction{key}"] = list(said)
        return answers

    def _captions(self, model: Any, passes: dict[str, dict]) -> dict[str, list]:
        total = row_count(passes[""])
        shown = list(range(min(self._captions_left, total)))
        self._captions_left -= len(shown)
        answers: dict[str, list] = {}
        for key, samples in passes.items():
            answers[f"loss{key}"] = model(samples)["per_row_loss"].float().tolist()
            said: list[str] = []
            if shown:
                few = take_rows(samples, shown)
                said = list(model.generate(few, max_new_tokens=self.max_new_tokens))
            answers[f"prediction{key}"] = said + [None] * (total - len(said))
        return answers


def _groups(samples: dict) -> dict[tuple[str, tuple[str, ...] | None], list[int]]:
    """Row numbers by (task, candidates): what one call of the model can answer together."""
    groups: dict[tuple[str, tuple[str, ...] | None], list[int]] = {}
    candidates = samples.get("candidates") or [None] * row_count(samples)
    for row, (task, closed) in enumerate(zip(samples["task"], candidates, strict=True)):
        if task == "classification" and not closed:
            raise ConfigError(
                f"the classification question {samples['question_id'][row]!r} has no candidates; "
                "its dataset must give the closed set of answers"
            )
        key = (task, tuple(closed) if task == "classification" else None)
        groups.setdefault(key, []).append(row)
    return groups


def _facts(part: dict, row: int) -> dict[str, Any]:
    return {
        "id": part["question_id"][row],
        "sample_id": part["sample_id"][row],
        "task": part["task"][row],
        "question_type": part["question_type"][row],
        "question": part["text_input"][row],
        "reference": part["text_output"][row],
        "answers": part["answers"][row],
    }
