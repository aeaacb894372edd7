"""The part of a generated text in which a model says its answer.

Reasoning models think aloud in marks of their own, and some say in which part the answer is
(`<answer>`, `\\boxed`). A thought is no answer, even where the text ends within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_THOUGHT = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad)"
_OPENS = rf"(?:<{_THOUGHT}>|\[think\]|\u25c1think\u25b7|<\|begin_of_thought\|>)"
_CLOSES = rf"(?:</{_THOUGHT}>|\[/think\]|\u25c1/think\u25b7|<\|end_of_thought\|>)"
_ANSWER, _ANSWERED = (rf"<{end}(?:final_?)?(?:answer|choice|option)>" for end in ("", "/"))
#: In this order: thoughts; what is in front of an end whose beginning the prompt has; what is
#: behind a beginning without an end, up to an answer that is marked as such.
_THOUGHTS = [
    re.compile(rf"{_OPENS}.*?{_CLOSES}", re.I | re.S),
    re.compile(rf"^.*{_CLOSES}", re.I | re.S),
    re.compile(rf"{_OPENS}.*?(?={_ANSWER}|\Z)", re.I | re.S),
]
_TAGGED = re.compile(rf"{_ANSWER}(.*?)(?:{_ANSWERED}|{_ANSWER}|\Z)", re.I | re.S)
_INNER = r"[^{}]"
for _ in range(3):  # braces within braces
    _INNER = rf"(?:[^{{}}]|\{{{_INNER}*\}})"
_BOXED = re.compile(rf"(?:\\f?b|\x08)oxed\s*\{{({_INNER}*)\}}")  # read as JSON, \b is one character
_STYLE = re.compile(r"\\(?:text|math|operatorname)\w*\s*\{([^{}]*)\}")


def final_answers(text: str) -> list[str]:
    """The parts of a text that are marked as the answer, else all that is no thought.

    None of them is blank; the list is empty where the text holds thoughts only.
    """
    for thought in _THOUGHTS:
        text = thought.sub(" ", text)
    parts = _filled(_TAGGED.findall(text)) or [_TAGGED.sub(" ", text)]
    parts = [inner for part in parts for inner in _filled(_BOXED.findall(part)) or [part]]
    return _filled(_without_style(part) for part in parts)


def _filled(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if part.strip()]


def _without_style(part: str) -> str:
    r"""`\text{(B)}` is (B)."""
    while (plain := _STYLE.sub(r"\1", part)) != part:
        part = plain
    return part
