"""How each task is answered and scored: a table of evaluators by task.

A new task is one class and one entry here; its settings are `run.evaluation.TASK` with defaults in
`configs/runs/default.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pal_plugin.evaluation.evaluators.base import Evaluator, GenerationSettings
from pal_plugin.evaluation.evaluators.captions import Captions
from pal_plugin.evaluation.evaluators.choices import MultipleChoice
from pal_plugin.evaluation.evaluators.judged import Chat, Reasoning
from pal_plugin.evaluation.evaluators.labels import Classification, Tagging
from pal_plugin.evaluation.evaluators.texts import Questions, Transcripts
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

EVALUATORS: dict[str, type[Evaluator]] = {
    "classification": Classification,
    "tagging": Tagging,
    "qa": Questions,
    "multiple_choice": MultipleChoice,
    "caption": Captions,
    "transcript": Transcripts,
    "reasoning": Reasoning,
    "chat": Chat,
}


def evaluator_class(task: str) -> type[Evaluator]:
    """The evaluator of a task.

    Raises:
        ConfigError: unknown task.
    """
    if task not in EVALUATORS:
        raise ConfigError(f"no evaluator for the task {task!r}. {did_you_mean(task, EVALUATORS)}")
    return EVALUATORS[task]


def build_evaluators(
    generation: GenerationSettings, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Evaluator]:
    """One evaluator per task.

    Args:
        generation: how answers are generated.
        settings: `{task: arguments of its evaluator}`; other tasks use the defaults.

    Raises:
        ConfigError: settings of an unknown task, or an invalid argument of an evaluator.
    """
    settings = settings or {}
    for task in settings:
        evaluator_class(task)
    return {
        task: cls(generation, **dict(settings.get(task) or {})) for task, cls in EVALUATORS.items()
    }
