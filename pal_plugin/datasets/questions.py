"""Selects a clip's questions: a weighted mix in training, a fixed set in evaluation."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pal_plugin.corpora.items import TASKS
from pal_plugin.utils.errors import ConfigError


class QuestionMix:
    """Selects items of a clip.

    Args:
        tasks: sampling weight per task; weight 0 or null disables the task.
        question_types: allowed types, None for all.
        items_per_clip: questions drawn per clip in training, without replacement.
        eval_items_per_type: maximum questions per type in evaluation, None for all.
        questions: replaces the prompt of a task; None keeps the item's own.

    Raises:
        ConfigError: if a task is unknown, no task has a weight, or a count is below 1.
    """

    def __init__(
        self,
        tasks: Mapping[str, float | None],
        question_types: Sequence[str] | None = None,
        items_per_clip: int = 2,
        eval_items_per_type: int | None = None,
        questions: Mapping[str, str | None] | None = None,
    ) -> None:
        self.questions = {task: text for task, text in (questions or {}).items() if text}
        unknown = (set(tasks) | set(self.questions)) - set(TASKS)
        if unknown:
            raise ConfigError(f"unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")
        self.weights = {task: float(weight) for task, weight in tasks.items() if weight}
        if not self.weights or min(self.weights.values()) < 0:
            raise ConfigError(f"at least one task needs a positive weight, got {dict(tasks)}")
        for name, count in (
            ("items_per_clip", items_per_clip),
            ("eval_items_per_type", eval_items_per_type),
        ):
            if count is not None and count < 1:
                raise ConfigError(f"{name} is {count}; expected 1 or more")
        self.question_types = None if question_types is None else set(question_types)
        self.items_per_clip = items_per_clip
        self.eval_items_per_type = eval_items_per_type

    def eligible(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items of enabled tasks and types, each with its index in the clip as `number`.

        Raises:
            ConfigError: if `questions` has another wording for a conversation.
        """
        for item in items:
            if "messages" in item and item["task"] in self.questions:
                raise ConfigError(
                    f"questions.{item['task']} rewords single questions, but this dataset has "
                    "conversations of this task; set it to null"
                )
        return [
            {
                **item,
                "number": number,
                "question": self.questions.get(item["task"], item["question"]),
            }
            for number, item in enumerate(items)
            if item["task"] in self.weights
            and (self.question_types is None or item["question_type"] in self.question_types)
        ]

    def draw(self, items: Sequence[dict[str, Any]], seed: str) -> list[dict[str, Any]]:
        """Draws up to `items_per_clip` items: first a task by weight, then one of its items.

        Deterministic: the same clip and seed give the same items in every process.
        """
        rng, left = random.Random(seed), self.eligible(items)
        drawn = []
        while left and len(drawn) < self.items_per_clip:
            tasks = list(dict.fromkeys(item["task"] for item in left))
            (task,) = rng.choices(tasks, [self.weights[t] for t in tasks])
            item = rng.choice([item for item in left if item["task"] == task])
            left.remove(item)
            drawn.append(item)
        return drawn

    def all(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items used in evaluation, in order."""
        counts: dict[str, int] = {}
        chosen = []
        for item in self.eligible(items):
            kind = item["question_type"]
            counts[kind] = counts.get(kind, 0) + 1
            if self.eval_items_per_type is None or counts[kind] <= self.eval_items_per_type:
                chosen.append(item)
        return chosen
