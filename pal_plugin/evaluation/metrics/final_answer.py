"""The part of a generated text in which a model says its answer.

Reasoning models think aloud in marks of their own, and some say in which part the answer is
(`<answer>`, `\\boxed`). A thought is no answer, even where the text ends within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_THOUGHT = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad)"
_OPENS = (
    rf"(?:<{_THOUGHT}\s*>|\[think\]|\u25c1think\u25b7|<\|begin_of_thought\|>"
    r"|<\|start_thinking\|>|<\|channel>thought\b)"
)
_CLOSES = (
    rf"(?:</{_THOUGHT}\s*>|\[/think\]|\u25c1/think\u25b7|<\|end_of_thought\|>"
    r"|<\|end_thinking\|>|<channel\|>)"
)
_NAMES = r"(?:final|(?:final[_ ]?)?(?:answer|choice|option|response|result|output|solution))"
_ANSWER, _ANSWERED = (rf"<{end}{_NAMES}\s*>" for end in ("", "/"))
#: gpt-oss thinks in channels; decoded without control tokens only their names are left.
_CHANNELS = [
    re.compile(r"\A.*<\|channel\|>\s*final\b.*?<\|message\|>", re.S),
    re.compile(r"<\|channel\|>\s*(?:analysis|commentary)\b.*", re.S),
    re.compile(r"\Aanalysis(?=[A-Z\"'(]).*assistantfinal", re.S),
    re.compile(r"\Aanalysis(?=[A-Z\"'(]).*", re.S),
]
#: In this order: thoughts; what is in front of an end whose beginning the prompt has; what is
#: behind a beginning without an end, up to an answer that is marked as such.
_THOUGHTS = [
    *_CHANNELS,
    re.compile(rf"{_OPENS}.*?{_CLOSES}", re.I | re.S),
    re.compile(rf"^.*{_CLOSES}", re.I | re.S),
    re.compile(rf"{_OPENS}.*?(?={_ANSWER}|\Z)", re.I | re.S),
]
_TAGGED = re.compile(rf"{_ANSWER}(.*?)(?:{_ANSWERED}|{_ANSWER}|\Z)", re.I | re.S)
_INNER = r"[^{}]"
for _ in range(3):  # braces within braces
    _INNER = rf"(?:[^{{}}]|\{{{_INNER}*\}})"
#: Read as JSON, \b is one character; TeX needs no braces around one letter.
_BOXED = re.compile(rf"(?:\\f?b|\x08)oxed(?:\s*\{{({_INNER}*)\}}|\s+([A-Za-z])\b)")
_STYLE = re.compile(r"\\(?:text|math|operatorname)\w*\s*\{([^{}]*)\}")


def final_answers(text: str) -> list[str]:
    """The parts of a text that are marked as the answer, else all that is no thought.

    None of them is blank; the list is empty where the text holds thoughts only.
    """
    for thought in _THOUGHTS:
        text = thought.sub(" ", text)
    parts = _filled(_TAGGED.findall(text)) or [_TAGGED.sub(" ", text)]
    parts = [
        inner
        for part in parts
        for inner in _filled(braced or bare for braced, bare in _BOXED.findall(part)) or [part]
    ]
    return _filled(_without_style(part) for part in parts)


def _filled(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if part.strip()]


def _without_style(part: str) -> str:
    r"""`\text{(B)}` is (B)."""
    while (plain := _STYLE.sub(r"\1", part)) != part:
        part = plain
    return part
