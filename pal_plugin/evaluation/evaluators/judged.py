"""`reasoning` and `chat`: long answers that another LLM judges from a file written here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pal_plugin.evaluation.evaluators.base import Asking, Evaluator, Finished, Rows
from pal_plugin.evaluation.metrics.judge import FORMS, judge_lines
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import write_jsonl


class Judged(Evaluator):
    """Answers go into `SPLIT.TASK.judge.jsonl`; `pal results` reads `SPLIT.TASK.judged.jsonl`.

    Args:
        template: a file with the judge's prompt, in place of this package's own wording; see
            `judge.Form` for the names in braces.

    Raises:
        ConfigError: the template cannot be read or lacks `{answer}`.
    """

    task = ""

    def __init__(self, asking: Asking, template: str | None = None) -> None:
        super().__init__(asking)
        self.form, self.source = FORMS[self.task], "this package's own wording"
        if template is not None:
            path = f"run.evaluation.{self.task}.template"
            try:
                text = Path(template).expanduser().read_text("utf-8")
            except OSError as error:
                raise ConfigError(f"{path}: {template} cannot be read: {error}") from error
            if "{answer}" not in text:
                raise ConfigError(f"{path}: {template} has no {{answer}} in it")
            self.form, self.source = replace(self.form, template=text), template

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        return {"prediction": self.asking(model, samples)}

    def finish(self, rows: Rows, key: str) -> Finished:
        return Finished(
            how={"judge's prompt": self.source},
            missing=dict.fromkeys(
                self.form.aspects,
                "let a judge answer the judge.jsonl beside the results, write its answers to "
                "judged.jsonl (id, response), and run pal results",
            ),
        )

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        write_jsonl(folder / f"{stem}.judge{key}.jsonl", judge_lines(rows, self.form, key))
        return {}


class Reasoning(Judged):
    """CompA-R-test and its like."""

    task = "reasoning"


class Chat(Judged):
    """AIR-Bench chat and its like: the reference is judged beside the answer."""

    task = "chat"
