"""`multiple_choice`: parsed from the generated answer in two ways, and ranked by likelihood.

The choices may be asked in several shuffled orders: the spread shows a position bias. Answers that
cannot be parsed count as unparsed and are never replaced by a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pal_plugin.batch import more_of, rows_in, take_rows
from pal_plugin.corpora.prompts import multiple_choice_prompt
from pal_plugin.evaluation.evaluators.base import (
    Columns,
    Evaluator,
    GenerationSettings,
    Rows,
    Scores,
)
from pal_plugin.evaluation.metrics.multiple_choice import mmau_rule, read_choice, shuffled
from pal_plugin.utils.errors import ConfigError

_HOW = {
    "accuracy": "letter or option text of the generated answer; unparsed answers count as wrong",
    "accuracy_mmau_rule": "MMAU's published word rule, unchanged",
    "accuracy_ranked": "likelihood of each choice per token, with the end-of-text token",
    "unparsed": "share of answers that name no choice or several",
    "accuracy_sd": "standard deviation of the accuracy over the shuffled orders (n - 1)",
}
#: Metrics per order of the choices.
_COUNTED = {
    "accuracy": lambda row, asked: asked["read"] == row["reference"],
    "accuracy_mmau_rule": lambda row, asked: asked["rule"],
    "accuracy_ranked": lambda row, asked: asked.get("ranked") == row["reference"],
    "unparsed": lambda row, asked: asked["read"] is None,
}


class MultipleChoice(Evaluator):
    """Multiple-choice questions, each with its own choices.

    Args:
        generation: how answers are generated.
        protocol: prompt format for rows without one whose question does not list the choices, a
            name in `corpora.prompts.PROTOCOLS`.
        shuffles: 0 asks once in the given order; k asks k times in shuffled orders.
        rank: rank the choices by likelihood too.
        seed: of the orders.

    Raises:
        ConfigError: a negative number of orders.
    """

    names = (*_COUNTED, "accuracy_sd")

    def __init__(
        self,
        generation: GenerationSettings,
        protocol: str = "mmau",
        shuffles: int = 0,
        rank: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(generation)
        if shuffles < 0:
            raise ConfigError(
                f"run.evaluation.multiple_choice.shuffles is {shuffles}; expected 0 or more"
            )
        multiple_choice_prompt(protocol, "", ["a", "b"])  # raise now, not at the first batch
        self.protocol, self.shuffles, self.rank, self.seed = protocol, shuffles, rank, seed

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`, and `asked`: per row, a list with an entry per order."""
        total = rows_in(samples)
        for row in range(total):
            _check(samples, row)
        asked: list[list[dict]] = [[] for _ in range(total)]
        for number in range(max(1, self.shuffles)):
            orders = [self._order(samples, row, number) for row in range(total)]
            texts = [self._question(samples, row, orders[row]) for row in range(total)]
            part = {**samples, "text_input": texts}
            said = self.generation.answers(model, part)
            ranked = self._ranked(model, part, orders) if self.rank else [None] * total
            for row, order in enumerate(orders):
                read = read_choice(said[row], order)
                entry = {
                    "choices": order,
                    "prediction": said[row],
                    "read": None if read is None else order[read],
                    "rule": mmau_rule(samples["text_output"][row], said[row], order),
                }
                asked[row].append(entry | ({"ranked": ranked[row]} if self.rank else {}))
        return {"prediction": [of_row[0]["prediction"] for of_row in asked], "asked": asked}

    def score(self, rows: Rows, key: str) -> Scores:
        """How each metric was computed, and the orders of the choices."""
        given = {**self.columns(rows, key), **self.whole(rows, key)}
        done = Scores(how={name: text for name, text in _HOW.items() if name in given})
        orders = f"{self.shuffles} shuffled, seed {self.seed}" if self.shuffles else "as given"
        done.how["orders of the choices"] = orders
        return done

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """Accuracies and `unparsed`, averaged over the orders of each row."""
        found: Columns = {}
        ranked = all("ranked" in asked for row in rows for asked in row[f"asked{key}"])
        for name, count in _COUNTED.items():
            if name == "accuracy_ranked" and not ranked:
                continue
            of_rows = [[float(count(row, asked)) for asked in row[f"asked{key}"]] for row in rows]
            found[name] = [sum(right) / len(right) for right in of_rows], [1.0] * len(rows)
        return found

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """`accuracy_sd` over the orders, where there are several."""
        right = _right_by_order(rows, key)
        if right is None:
            return {}
        return {"accuracy_sd": float(right.mean(axis=0).std(ddof=1))}

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """`accuracy_sd` in bootstrap samples, `[draws]`."""
        right = _right_by_order(rows, key)
        if right is None:
            return {}
        accuracies = weights.T @ right / weights.sum(axis=0)[:, None]
        return {"accuracy_sd": accuracies.std(axis=1, ddof=1)}

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        """Mean of 1 / number of choices."""
        return sum(1 / len(row["asked"][0]["choices"]) for row in rows) / len(rows)

    def _order(self, samples: dict, row: int, number: int) -> list[str]:
        choices = list(samples["candidates"][row])
        if not self.shuffles:
            return choices
        return shuffled(choices, self.seed, samples["question_id"][row], number)

    def _question(self, samples: dict, row: int, order: list[str]) -> str:
        given, more = samples["text_input"][row], more_of(samples, row)
        if order == list(samples["candidates"][row]):
            if "stem" in more or all(choice in given for choice in order):
                return given
        elif "stem" not in more and all(choice in given for choice in order):
            raise ConfigError(
                f"the question {samples['question_id'][row]!r} contains its choices, so they "
                "cannot be shuffled; provide `stem` in its dataset, or set "
                "run.evaluation.multiple_choice.shuffles=0"
            )
        protocol = more.get("protocol", self.protocol)
        return multiple_choice_prompt(protocol, more.get("stem", given), order)

    def _ranked(self, model: Any, part: dict, orders: list[list[str]]) -> list[str]:
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, order in enumerate(orders):
            groups.setdefault(tuple(order), []).append(row)
        best: list[str] = [""] * len(orders)
        for order, index in groups.items():
            found = model.predict_class(take_rows(part, index), candidates=list(order))
            for row, choice in zip(index, found["predictions"], strict=True):
                best[row] = choice
        return best


def _check(samples: dict, row: int) -> None:
    choices = samples["candidates"][row]
    if not choices or samples["text_output"][row] not in choices:
        raise ConfigError(
            f"the multiple-choice question {samples['question_id'][row]!r}: expected its answer "
            f"{samples['text_output'][row]!r} among its candidates, got {choices!r}"
        )


def _right_by_order(rows: Rows, key: str) -> np.ndarray | None:
    """`[rows, orders]` of 0 and 1; None for a single order, or rows with different numbers."""
    orders = {len(row[f"asked{key}"]) for row in rows}
    if len(orders) != 1 or orders == {1}:
        return None
    return np.array(
        [[asked["read"] == row["reference"] for asked in row[f"asked{key}"]] for row in rows],
        dtype=np.float64,
    )
