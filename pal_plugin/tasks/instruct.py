"""`pal_instruct`: instruction tuning and evaluation on audio questions, several tasks per batch.

Each task is answered and scored by its evaluator (`evaluation.evaluators`). Each row is answered a
second time with its audio masked: answers that are right then do not depend on the audio. Those
answers depend on the text alone, so each distinct question is asked once (`evaluation.masked`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from pal_plugin.batch import masked, more_of, rows_in, take_rows
from pal_plugin.config.registry import DATASETS, MODELS
from pal_plugin.evaluation import summary
from pal_plugin.evaluation.evaluators import build_evaluators, evaluator_class
from pal_plugin.evaluation.evaluators.base import GenerationSettings, Scores
from pal_plugin.evaluation.masked import Known, Unheard
from pal_plugin.utils.errors import ConfigError


class InstructTask:
    """Trains on answers and evaluates them by task.

    Args:
        masked_audio: evaluate a second time with the audio masked out.
        max_new_tokens: length limit of generated answers.
        caption_examples: example captions per split, the same for any number of processes.
        select_by: see `summary.select`; None to select nothing.
        generation: other arguments of the model's `generate`; null keeps its default.
        evaluation: arguments of the evaluators by task.
        seed: of sampled answers and shuffled choices.
    """

    def __init__(
        self,
        masked_audio: bool = True,
        max_new_tokens: int = 32,
        caption_examples: int = 4,
        select_by: str | None = "accuracy",
        generation: dict[str, Any] | None = None,
        evaluation: dict[str, dict] | None = None,
        seed: int = 0,
    ) -> None:
        self.masked_audio, self.select_by = masked_audio, select_by
        self.generation = GenerationSettings(max_new_tokens, generation or {}, seed)
        settings = {task: dict(of_task or {}) for task, of_task in (evaluation or {}).items()}
        settings.setdefault("caption", {}).setdefault("examples", caption_examples)
        settings.setdefault("multiple_choice", {}).setdefault("seed", seed)
        self.evaluators = build_evaluators(self.generation, settings)
        if select_by is not None:
            summary.check_selection(select_by, self.evaluators)
        self._scores: dict[str, dict[str, dict[str, Scores]]] = {}
        self._unheard: Known = {}

    @classmethod
    def setup_task(cls, cfg: Any) -> InstructTask:
        """Build the task from the `run:` section."""
        run = cfg.run_cfg
        plain = OmegaConf.to_container(OmegaConf.create(run), resolve=True)
        return cls(
            masked_audio=bool(run.masked_audio),
            max_new_tokens=int(run.max_new_tokens),
            caption_examples=int(run.caption_examples),
            select_by=None if run.evaluate else str(run.select_by),
            generation=plain.get("generation"),
            evaluation=plain.get("evaluation"),
            seed=int(run.seed),
        )

    def build_model(self, cfg: Any) -> torch.nn.Module:
        """Build the model of the `model:` section."""
        return MODELS.get(cfg.model_cfg.arch).from_config(cfg.model_cfg)

    def build_datasets(self, cfg: Any) -> dict[str, dict[str, Any]]:
        """`{dataset: {split: dataset}}` of the `datasets:` section, for the splits of the run.

        Raises:
            ConfigError: no dataset, or one that cannot be built; says which and why.
        """
        if not cfg.datasets_cfg:
            raise ConfigError("datasets is empty; expected at least one dataset")
        run, built = cfg.run_cfg, {}
        splits = {*(run.valid_splits or ()), *(run.test_splits or ())}
        if not run.evaluate:
            splits |= set(run.train_splits or ())
        for name, config in cfg.datasets_cfg.items():
            try:
                builder = DATASETS.get(config.get("builder", name))(config)
                builder.splits, builder.train_splits = splits, set(run.train_splits or ())
                built[name] = builder.build_datasets()
            except ConfigError as error:
                raise ConfigError(f"datasets.{name}: {error}") from error
        return built

    def train_step(self, model: Any, samples: dict) -> torch.Tensor:
        """The loss of a batch, a scalar tensor: mean over its answer tokens."""
        self._unheard.clear()  # answers of other weights
        return model(samples)["loss"]

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Reset the example captions, and the masked answers of other weights."""
        self._unheard.clear()
        for evaluator in self.evaluators.values():
            evaluator.begin()

    def resume(self, rows: list[dict]) -> None:
        """Take over the dataset's rows that were answered before an interruption."""
        for task, evaluator in self.evaluators.items():
            evaluator.resume([row for row in rows if row["task"] == task])

    def valid_step(self, model: Any, samples: dict) -> list[dict]:
        """Answer every row of a batch.

        Returns:
            One dict per row, in the batch's order: `id, sample_id, task, question_type, question,
            reference, answers`, `facts` if the dataset provides them, `prediction` and
            `prediction_masked`; captions have `loss` and `loss_masked`, and predictions only for
            a few examples unless they are scored.
        """
        if not rows_in(samples):
            return []
        samples = self._encoded(model, samples)
        rows: list[dict | None] = [None] * rows_in(samples)
        for (task, _), index in _groups(samples).items():
            part = take_rows(samples, index)
            if task == "tagging":
                part["answers"] = [
                    more_of(part, row).get("labels", right)
                    for row, right in enumerate(part["answers"])
                ]
            answers: dict[str, list] = {}
            for key in summary.passes(self.masked_audio):
                asked = (Unheard(model, self._unheard), masked(part)) if key else (model, part)
                found = self.evaluators[task].answer(*asked)
                answers |= {f"{name}{key}": column for name, column in found.items()}
            for row, place in enumerate(index):
                rows[place] = _facts(part, row, task) | {k: v[row] for k, v in answers.items()}
        return rows

    def after_evaluation(
        self, val_result: list[dict], split_name: str, epoch: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Metrics by task and question type, and `agg_metrics`, which selects the best epoch.

        Adds `figures` to the rows, and removes captions beyond `caption_examples`.

        Raises:
            ConfigError: these rows have no metric `select_by`.
        """
        scores = summary.score(val_result, self.evaluators, masked=self.masked_audio)
        self._scores[split_name] = scores
        entries = summary.summarise(val_result, masked=self.masked_audio, scores=scores)
        agg = None
        if self.select_by is not None:
            agg = summary.select(entries, self.select_by, summary.task_names(val_result))
        captions = [row for row in val_result if row["task"] == "caption" and row["prediction"]]
        for row in captions[: self.evaluators["caption"].examples]:
            logging.info(
                "%s caption of %s: %r (reference %r)",
                split_name,
                row["sample_id"],
                row["prediction"],
                row["reference"],
            )
        return {**entries, "agg_metrics": agg}

    def describe(self, split: str) -> dict[str, dict]:
        """How each metric of a split's last evaluation was computed, and which are missing."""
        return {
            name: {"how": by_pass[""].how, "missing": _missing(by_pass)}
            for name, by_pass in self._scores.get(split, {}).items()
        }

    def write_files(self, rows: list[dict], split: str, folder: Path) -> dict[str, str]:
        """Write confusion matrices and judge files; returns those that failed, with the reason."""
        missing: dict[str, str] = {}
        for name, group in summary.by_task(rows).items():
            stem = f"{split}.{name.replace('/', '.')}"
            for key in summary.passes(self.masked_audio):
                evaluator = self.evaluators[group[0]["task"]]
                missing |= evaluator.write(group, key, folder, stem)
        return missing

    def _encoded(self, model: Any, samples: dict) -> dict:
        """Run the encoders once per clip; every further call reuses their tokens."""
        text_only = "messages" in samples and "audio" not in samples
        if not hasattr(model, "encode_audio") or text_only:
            return samples
        tokens = model.encode_audio(samples)
        return {k: v for k, v in samples.items() if k != "audio"} | {"audio_tokens": tokens}


def _missing(by_pass: dict[str, Scores]) -> dict[str, str]:
    """Missing metrics of both passes; those with the same reason once."""
    found = dict(by_pass[""].missing)
    for figure, why in by_pass.get("_masked", Scores()).missing.items():
        if found.get(figure) != why:
            found[f"{figure}, audio masked"] = why
    return found


def _groups(samples: dict) -> dict[tuple[str, tuple[str, ...] | None], list[int]]:
    """Row numbers by (task, closed set): what one evaluator call can answer together."""
    groups: dict[tuple[str, tuple[str, ...] | None], list[int]] = {}
    candidates = samples.get("candidates") or [None] * rows_in(samples)
    for row, task in enumerate(samples["task"]):
        if task == "classification" and more_of(samples, row).get("labels"):
            task = "tagging"  # several labels of one clip
        closed = evaluator_class(task).closed and candidates[row]
        groups.setdefault((task, tuple(closed) if closed else None), []).append(row)
    return groups


def _facts(part: dict, row: int, task: str) -> dict[str, Any]:
    known = {
        "id": part["question_id"][row],
        "sample_id": part["sample_id"][row],
        "task": task,
        "question_type": part["question_type"][row],
        "question": part["text_input"][row],
        "reference": part["text_output"][row],
        "answers": part["answers"][row],
    }
    facts = more_of(part, row).get("facts")
    return known | ({"facts": facts} if facts else {})
