"""Evaluate the splits of a run on one or several processes, and write the results.

All ranks run the same code; rank 0 writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from pal_plugin.config.run_config import RunConfig
from pal_plugin.datasets.collate import clips_of, clips_of_all
from pal_plugin.evaluation import loop, provenance
from pal_plugin.evaluation.completeness import Tally
from pal_plugin.evaluation.example_clips import keep_clips
from pal_plugin.evaluation.examples import choose, readable
from pal_plugin.evaluation.limit import Part, limited
from pal_plugin.evaluation.prediction_cache import SUFFIX, PredictionCache, merge_rows
from pal_plugin.utils import files
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision

#: Files of a run folder: metrics by split, and their provenance.
METRICS, EVALUATION = "metrics.json", "evaluation.json"


@dataclass(frozen=True)
class Outcome:
    """Result of a split.

    Attributes:
        log: metrics of the task, with `agg_metrics`.
        rows: answered rows.
        left_out: skipped clips, with the reason.
    """

    log: dict[str, Any]
    rows: list[dict]
    left_out: list[str]

    @property
    def entries(self) -> dict[str, dict]:
        """Metrics by entry, without `agg_metrics`."""
        return {key: value for key, value in self.log.items() if isinstance(value, dict)}


class SplitEvaluator:
    """Evaluates splits and writes their metrics and predictions.

    Args:
        cfg: the run's configuration.
        task: has `valid_step` and `after_evaluation`.
        splits: datasets by name, by split; `run.eval_limit` applies to evaluated ones.
        folder: the run folder.
        world: the run's processes.
        checkpoint: file of the evaluated weights, None if there is none.
        check: called between batches; it raises to end the evaluation.
    """

    def __init__(
        self,
        cfg: RunConfig,
        task: Any,
        splits: dict[str, dict[str, Any]],
        folder: Path,
        world: Any,
        checkpoint: Path | None,
        check: Callable[[], None],
    ) -> None:
        self.cfg, self.task, self.world = cfg, task, world
        self.whole = {split: splits[split] for split in cfg.evaluated_splits}
        limit = cfg.run_cfg.eval_limit
        self.splits = {
            split: {n: limited(each, limit, f"{n}, {split}") for n, each in datasets.items()}
            for split, datasets in self.whole.items()
        }
        self.folder, self.result_dir = folder, folder / "result"
        self.checkpoint, self.check = checkpoint, check
        self.only = bool(cfg.run_cfg.evaluate)
        self.metrics: dict[str, dict] = {}
        self.evaluation: dict[str, dict] = {}

    def loader(self, dataset: Any, device: torch.device, *, divided: bool) -> Any:
        """A DataLoader of one pass over a dataset, or over this rank's share of it."""
        run, world = self.cfg.run_cfg, self.world
        return loop.evaluation_loader(
            dataset,
            int(run.batch_size_eval),
            int(run.num_workers),
            seed=int(run.seed),
            pin_memory=device.type == "cuda",
            **({"rank": world.rank, "size": world.size} if divided else {}),
        )

    def evaluate(
        self,
        split: str,
        epoch: str | int,
        model: torch.nn.Module,
        precision: Precision,
        device: torch.device,
        *,
        sharded: bool,
    ) -> Outcome:
        """Answer and score one split.

        Args:
            split: its name.
            epoch: name of the model's state, for the log.
            model: to evaluate.
            precision: of the forward passes.
            device: of the model.
            sharded: whether the model's layers are sharded, so that all ranks must answer the same
                questions.

        Raises:
            ConfigError: nothing to evaluate, missing clips, or cached answers of other settings.
        """
        parts: list[list] = []
        left_out: list[str] = []
        part = self._part(split)
        if part is not None and self.world.first:
            logging.info("%s: evaluating a part of the split, %s", split, part)
        cache = self._cache(split)
        several = len(self.splits[split]) > 1
        for name, dataset in self.splits[split].items():
            self.task.before_evaluation(model=model, dataset=dataset)
            if cache is not None:
                rows = cache.begin(name if several else None)
                if rows and hasattr(self.task, "resume"):
                    self.task.resume(rows)
            tally = Tally(dataset, f"{split} {name}" if several else split)
            found, missed = loop.evaluate(
                task=self.task,
                model=model,
                batches=tally.counted(self.loader(dataset, device, divided=not sharded)),
                clips=self._own_clips(dataset, sharded=sharded),
                split=tally.name,
                precision=precision,
                device=device,
                cache=cache,
                check=self.check,
                shown=self.world.first,
            )
            if several:
                found = [{**row, "dataset": name} for row in found]
            mine = (files.jsonable(found) if self.world.size > 1 else found, missed, tally.counts)
            # A dataset that is not divided gives the same rows on every rank.
            divided = not sharded and loop.divisible(dataset)
            gathered = self.world.gather(mine) if divided else [mine]
            rows, missing, counts = zip(*gathered, strict=True)
            parts += rows
            left_out += tally.left_out([*chain(*missing)], counts)
        if cache is not None:
            cache.close()
        rows = merge_rows(parts)
        if not rows:
            raise ConfigError(
                f"the split {split!r} has nothing to evaluate: no clip, or no question of the "
                "chosen tasks"
            )
        log = None
        if self.world.first:
            log = self.task.after_evaluation(val_result=rows, split_name=split, epoch=epoch)
        log = self.world.from_first(log)
        if not isinstance(log, dict) or "agg_metrics" not in log:
            raise TypeError(
                f"{type(self.task).__name__}.after_evaluation must return a dict with "
                f"'agg_metrics', got {log!r}"
            )
        if part is not None:  # mark the metrics, so that nobody takes them for the full split's
            marked = {k: v | {"part": part.share} for k, v in log.items() if isinstance(v, dict)}
            log = log | marked
        return Outcome(log, rows, list(dict.fromkeys(left_out)))

    def keep(self, split: str, outcome: Outcome, model: torch.nn.Module, device: Any) -> None:
        """Write the metrics, rows and provenance of a split."""
        self.metrics[split] = outcome.entries
        if not self.world.first:
            return
        files.write_jsonl(self.result_dir / f"{split}.jsonl", outcome.rows)
        files.write_json(self.folder / METRICS, self.metrics)
        part = self._part(split)
        described = {
            "provenance": provenance.describe(
                self.cfg.to_dict(),
                model,
                outcome.rows,
                checkpoint=self.checkpoint,
                left_out=outcome.left_out,
                clips=clips_of_all(self.whole[split]),
                asked=None if part is None else part.asked,
                device=device,
            )
        }
        if hasattr(self.task, "describe"):
            described["figures"] = self.task.describe(split)
        if self.only:
            described["files missing"] = self._files(split, outcome.rows)
        self.evaluation[split] = described
        files.write_json(self.folder / EVALUATION, self.evaluation)

    def finish(self) -> None:
        """Remove prediction caches, whose rows `result/SPLIT.jsonl` has, and write extra files."""
        for partial in self.result_dir.glob(f"*{SUFFIX}"):
            partial.unlink()
        if self.cfg.run_cfg.pictures:
            self._keep_clips()
        for split, described in self.evaluation.items():
            if "files missing" not in described:  # a training run: once, for its best epoch
                rows = files.read_jsonl(self.result_dir / f"{split}.jsonl")
                described["files missing"] = self._files(split, rows)
                files.write_json(self.folder / EVALUATION, self.evaluation)

    def _keep_clips(self) -> None:
        """Write the clips of the report; without them it says so."""
        try:
            rows = {s: files.read_jsonl(self.result_dir / f"{s}.jsonl") for s in self.metrics}
            rows = {split: of_split for split, of_split in rows.items() if readable(of_split)}
            shown = [example for worst in (False, True) for example in choose(rows, worst=worst)]
            if shown:
                keep_clips(shown, self.splits, self.result_dir)
        except Exception as error:  # of a dataset, the disk, or a codec: the run itself is complete
            logging.warning("no clips in the report: %s", error, exc_info=error)

    def _files(self, split: str, rows: list[dict]) -> dict[str, str]:
        """Write the extra files (`run.pictures`); returns those that failed, with the reason."""
        if not self.cfg.run_cfg.pictures or not hasattr(self.task, "write_files"):
            return {}
        return self.task.write_files(rows, split, self.result_dir)

    def _part(self, split: str) -> Part | None:
        """Size of the subset under `run.eval_limit`; None if it is the full split."""
        asked, whole = clips_of_all(self.splits[split]), clips_of_all(self.whole[split])
        return None if asked == whole else Part(asked, whole)

    def _own_clips(self, dataset: Any, *, sharded: bool) -> int | None:
        """Clips that this rank evaluates; None if unknown."""
        clips = clips_of(dataset)
        divided = not sharded and loop.divisible(dataset)
        return clips if clips is None or not divided else round(clips / self.world.size)

    def _cache(self, split: str) -> PredictionCache | None:
        """The prediction cache of an evaluation; None while training, where weights change."""
        if not self.only:
            return None
        settings = provenance.settings(self.cfg.to_dict(), self.checkpoint)
        mine = "" if self.world.first else f".rank{self.world.rank}"
        names = (f"{split}{SUFFIX}", f"{split}.rank*{SUFFIX}")
        others = [path for name in names for path in self.result_dir.glob(name)]
        self.world.wait()  # all ranks list the files before any rank writes
        path = self.result_dir / f"{split}{mine}{SUFFIX}"
        return PredictionCache(path, settings, others)


def by_split(cfg: RunConfig, datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`{split: {dataset: ...}}` from `{dataset: {split: ...}}`, with the run's splits checked.

    Raises:
        ConfigError: no dataset has a split that the run names, or a training split is evaluated.
    """
    splits: dict[str, dict[str, Any]] = {}
    for name, of_dataset in datasets.items():
        for split, dataset in of_dataset.items():
            splits.setdefault(split, {})[name] = dataset
    for key in ("train_splits", "valid_splits", "test_splits"):
        for split in getattr(cfg, key):
            if split not in splits:
                raise ConfigError(
                    f"run.{key} names the split {split!r}, but the datasets have "
                    f"{', '.join(splits) or 'none'}"
                )
    for split in cfg.evaluated_splits:
        if any(getattr(dataset, "train", False) for dataset in splits[split].values()):
            raise ConfigError(
                f"the split {split!r} is built for training (shuffled, infinite) and cannot be "
                "evaluated; give the evaluation split another name in the dataset"
            )
    return splits
