"""Extracts what a chat template writes around a question and after an answer, once at load.

A template is third-party code and may drop or change its input. So it is tried once with a question
and an answer, and rejected if these do not come out unchanged.

Design choice: only the trial messages go through the template; real questions are inserted in their
place. Templates interpret markers in a message (`<tool_response>`, `</think>`), but a question that
spells one is still just a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from transformers import PreTrainedTokenizerBase

#: Contains everything templates are known to change: HTML and JSON marks, line breaks, upper case.
_QUESTION = "Is it a \"bell\" <b> & a 'horn'?\nOr the Caf\u00e9 {c} [D]?"
_ANSWER = 'It\'s "E" & <f>, not {g}.'
_AGAIN = "And \"now\", <c> & 'd'?"
_SYSTEM = 'You hear "h" & <i>.'
#: A fixed date for templates that would write today's into every prompt.
_NOW = datetime(2024, 7, 26)
_DATE = "26 Jul 2024"  # by `date_string` (Llama 3.2)
_DIRECTIVES = [*"aAbBcCdDeFGhHIjklmMpPrRSTuUVwWxXyY", *(f"-{d}" for d in "dHIjmMSy")]
_DATES = {f"%{d}": _NOW.strftime(f"%{d}") for d in _DIRECTIVES}
#: Prepended to templates: replaces the function by which SmolLM3 and gpt-oss query the date, as
#: transformers only accepts text arguments, not functions. The template starts on a new line, since
#: transformers strips the white space before a line's first tag.
_STRFTIME = (
    "{%- macro strftime_now(format) -%}{%- set said = namespace(text=format) -%}"
    "{%- for directive, value in fixed_dates.items() -%}"
    "{%- set said.text = said.text | replace(directive, value) -%}"
    "{%- endfor -%}{{- said.text -}}{%- endmacro %}\n"
)
#: Roles whose messages are lists of parts: templates of multimodal models may require these.
_IN_PARTS = ((), ("system", "user", "assistant"), ("system", "user"), ("user",))
#: Matches the end of a prompt that makes the model think first (DeepSeek-R1).
_THOUGHT_OPENS = re.compile(r"(?:<(?:\w+:)?think(?:ing)?>|\[THINK\])\s*$", re.I)


@dataclass(frozen=True)
class ChatForm:
    """The parts of a chat template that are needed for one question and its answer.

    Attributes:
        pieces: the prompt, split at the question; two strings, more if the question is repeated.
        behind: what follows an answer.
        between: what separates an answer and the next question, if answers of later turns open like
            the first; None if the template writes later turns differently.
    """

    pieces: tuple[str, ...]
    behind: str
    between: str | None = None


def read_chat_form(tokenizer: PreTrainedTokenizerBase, system: str | None = None) -> ChatForm:
    """Tries a tokenizer's chat template.

    Args:
        tokenizer: tokenizer with a chat template.
        system: system message; None: the template's default.

    Raises:
        ValueError: if the template fails, or changes question, answer or system message; names the
            tokenizer and shows the output.
    """
    reasons = []
    for parts in _IN_PARTS:
        try:
            return _tried(tokenizer, system, parts)
        except Exception as error:  # third-party code may fail in any way
            reasons.append(str(error) or type(error).__name__)
    told = "; with lists of parts: ".join(dict.fromkeys(reasons[:2]))
    raise ValueError(
        f"cannot use the chat template of {tokenizer.name_or_path or 'the tokenizer'}: {told}. "
        "Set llm.prompt to a plain format, or fix the template"
        + ("" if system is None else ", or remove llm.system")
    )


def _tried(
    tokenizer: PreTrainedTokenizerBase, system: str | None, parts: Sequence[str]
) -> ChatForm:
    def written(*turns: tuple[str, str], opened: bool = False) -> str:
        return _written(tokenizer, turns, parts, opened)

    asked = [("user", _QUESTION)]
    if system is not None:
        _expect(_SYSTEM, written(("system", _SYSTEM), *asked), "system message")
        asked.insert(0, ("system", system))
    prompt = written(*asked, opened=True)
    _expect(_QUESTION, prompt, "question")
    whole = written(*asked, ("assistant", _ANSWER))
    _expect(_ANSWER, whole, "answer")
    front, _, behind = whole.rpartition(_ANSWER)
    # Such a template has no generation prompt, leaves the answer's channel to the model (gpt-oss),
    # or makes it think first; training targets are answers.
    marks = front[len(prompt) :] if front.startswith(prompt) else ""
    if marks.strip() or (_THOUGHT_OPENS.search(prompt) and _QUESTION in front):
        prompt = front
    pieces = tuple(prompt.split(_QUESTION))
    return ChatForm(pieces, behind, _between(written, asked, pieces))


def _between(
    written: Callable[..., str], asked: list[tuple[str, str]], pieces: tuple[str, ...]
) -> str | None:
    """See `ChatForm.between`."""
    again = [("assistant", _ANSWER), ("user", _AGAIN)]
    try:
        whole = written(*asked, *again, *again, opened=True)
    except Exception:  # e.g. a template for single turns
        return None
    opened = whole.rpartition(_AGAIN)[2]
    first, *rest = whole.removesuffix(opened).split(_ANSWER)
    between = rest[0].removesuffix(_AGAIN + pieces[-1])
    alike = rest == [between + _AGAIN + pieces[-1], between + _AGAIN]
    # For a prompt that makes the model think first, the answer's channel is written here, too.
    opens = opened and pieces[-1].startswith(opened)
    return between if alike and opens and first == _QUESTION.join(pieces) else None


def _expect(text: str, written: str, what: str) -> None:
    if text not in written:
        raise ValueError(f"the {what} {text!r} is written as {written!r:.400}")


def _written(
    tokenizer: PreTrainedTokenizerBase,
    turns: tuple[tuple[str, str], ...],
    parts: Sequence[str],
    opened: bool,
) -> str:
    def content(role: str, text: str) -> Any:
        return [{"type": "text", "text": text}] if role in parts else text

    return tokenizer.apply_chat_template(
        [{"role": role, "content": content(role, text)} for role, text in turns],
        chat_template=_STRFTIME + tokenizer.get_chat_template(),
        tokenize=False,
        add_generation_prompt=opened,
        date_string=_DATE,
        fixed_dates=_DATES,
        enable_thinking=False,  # used by Qwen3 and SmolLM3, ignored by others
    )
