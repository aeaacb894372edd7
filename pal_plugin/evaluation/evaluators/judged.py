"""`reasoning` and `chat`: long answers, written to a file for an LLM judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pal_plugin.evaluation.evaluators.base import Evaluator, GenerationSettings, Rows, Scores
from pal_plugin.evaluation.metrics.judge import FORMS, judge_lines
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import write_jsonl


class Judged(Evaluator):
    """Answers go to `SPLIT.TASK.judge.jsonl`; `pal results` reads `SPLIT.TASK.judged.jsonl`.

    Args:
        generation: how answers are generated.
        template: a file with the judge's prompt; None: the package's own. See `judge.Form` for
            the names in braces.

    Raises:
        ConfigError: the template is unreadable or lacks `{answer}`.
    """

    task = ""
    names = ()  # the judge's come later

    def __init__(self, generation: GenerationSettings, template: str | None = None) -> None:
        super().__init__(generation)
        self.form, self.source = FORMS[self.task], "this package's own wording"
        if template is not None:
            path = f"run.evaluation.{self.task}.template"
            try:
                text = Path(template).expanduser().read_text("utf-8")
            except OSError as error:
                raise ConfigError(f"{path}: {template} cannot be read: {error}") from error
            if "{answer}" not in text:
                raise ConfigError(f"{path}: {template} lacks {{answer}}, where the answer goes")
            self.form, self.source = replace(self.form, template=text), template

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`: the generated answer."""
        return {"prediction": self.generation.answers(model, samples)}

    def score(self, rows: Rows, key: str) -> Scores:
        """No metric yet; says how to get the judge's."""
        return Scores(
            how={"judge's prompt": self.source},
            missing=dict.fromkeys(
                self.form.aspects,
                "run a judge on judge.jsonl in the results folder, write its answers to "
                "judged.jsonl (id, response), and run pal results",
            ),
        )

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        """Write the judge's prompts."""
        write_jsonl(folder / f"{stem}.judge{key}.jsonl", judge_lines(rows, self.form, key))
        return {}


class Reasoning(Judged):
    """Open reasoning questions, such as CompA-R-test."""

    task = "reasoning"


class Chat(Judged):
    """Open chat questions, such as AIR-Bench chat: the reference is judged next to the answer."""

    task = "chat"
