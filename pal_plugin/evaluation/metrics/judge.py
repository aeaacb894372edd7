"""Answers judged by an LLM: write its prompts, and parse its answers into scores.

No service is called. The prompts below are this package's own wording of the papers' protocols
(CompA-R-test of GAMA: clarity, correctness, engagement, 1 to 5 each; AIR-Bench chat: the answer
next to the reference, 1 to 10 each), so scores are comparable with published ones only with the
published prompt: give its text as `template`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.utils.errors import ConfigError


@dataclass(frozen=True)
class Form:
    """A judge's prompt and scale.

    Args:
        template: the prompt, with `{question}`, `{reference}`, `{answer}` and, if the clip has one,
            `{caption}`.
        aspects: names of the scores, as the judge writes them before each ("Clarity: 4").
        low: smallest score.
        high: largest score.
    """

    template: str
    aspects: tuple[str, ...]
    low: float
    high: float


_REASONING = """\
You grade an answer about a sound recording that you cannot hear. What is known of the recording:
{caption}
Question: {question}
Reference answer: {reference}
Answer to grade: {answer}
Give three grades from 1 (poor) to 5 (excellent), each on a line of its own and nothing else:
Clarity: how easy the answer is to follow
Correctness: how well it agrees with what is known and with the reference
Engagement: how well it deals with what was asked
Write them as "Clarity: N", "Correctness: N" and "Engagement: N".
"""
_CHAT = """\
You compare two answers to a question about a sound recording that you cannot hear. What is known of
the recording:
{caption}
Question: {question}
First answer: {reference}
Second answer: {answer}
Grade the usefulness, relevance, accuracy and detail of each from 1 (poor) to 10 (excellent), on two
lines and nothing else: "First: N" and "Second: N".
"""
#: Forms by task. For `chat` the reference is graded too; the score is `second`.
FORMS = {
    "reasoning": Form(_REASONING, ("clarity", "correctness", "engagement"), 1, 5),
    "chat": Form(_CHAT, ("second", "first"), 1, 10),
}


def judge_lines(rows: Sequence[Mapping], form: Form, key: str = "") -> list[dict]:
    """One line per answer: `id`, `messages` as chat services take them, and `aspects`.

    Args:
        rows: with `id`, `question`, `reference`, `prediction` and, if known, `facts.caption` or
            `facts.meta_info`.
        form: the prompt.
        key: "_masked" for the answers without the audio; becomes part of the `id`.
    """
    lines = []
    for row in rows:
        parts = {
            "caption": _known(row.get("facts") or {}),
            "question": row["question"],
            "reference": row["reference"],
            "answer": row[f"prediction{key}"],
        }
        lines.append(
            {
                "id": f"{row['id']}{key}",
                "messages": [{"role": "user", "content": _filled(form.template, parts)}],
                "aspects": list(form.aspects),
            }
        )
    return lines


def _known(facts: Mapping) -> str:
    """The annotation of the recording: CompA-R's caption, AIR-Bench's description."""
    return str(facts.get("caption") or facts.get("meta_info") or "(nothing more)")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Fill the template in one pass, so that braces in a text are not taken for a name."""
    return re.sub(r"\{(caption|question|reference|answer)\}", lambda m: parts[m[1]], template)


def read_scores(text: str, form: Form) -> dict[str, float] | None:
    """The scores in a judge's answer; None unless each aspect has exactly one, in the range."""
    scores = {}
    for aspect in form.aspects:
        found = re.findall(
            rf"\b{re.escape(aspect)}\b\W{{0,6}}(\d+(?:\.\d+)?)(?!\s*-|\d)", text, re.IGNORECASE
        )
        values = {float(value) for value in found}
        if len(values) != 1:
            return None
        (scores[aspect],) = values
        if not form.low <= scores[aspect] <= form.high:
            return None
    return scores


def read_judged(path: Path, form: Form) -> dict[str, dict[str, float] | None]:
    """Scores by `id` from a judge's output file; None where its answer could not be parsed.

    Args:
        path: JSON lines with `id` and `response`, the judge's text or a map of scores.

    Raises:
        ConfigError: a missing file, an invalid line, or a duplicate id; names the line.
    """
    if not path.is_file():
        raise ConfigError(f"no judge's output at {path}; expected JSON lines with id and response")
    judged: dict[str, dict[str, float] | None] = {}
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, response = row["id"], row["response"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}, line {number}: expected JSON with id and response, got {line[:80]!r} "
                f"({type(error).__name__})"
            ) from error
        if name in judged:
            raise ConfigError(f"{path}, line {number}: the id {name!r} is judged twice")
        if isinstance(response, dict):
            response = "\n".join(f"{aspect}: {value}" for aspect, value in response.items())
        judged[name] = read_scores(str(response), form)
    return judged
