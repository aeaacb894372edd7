"""What a chat template writes around a question and behind an answer, found out at load.

A template is code of others, and may lose or change what it is given. So it is tried once with a
question and an answer, and refused where they do not come out.

Design choice: only the trial goes through the template. The real questions are put where it was:
templates read marks in a message as their own (`<tool_response>`, `</think>`), and a question that
spells one is a question all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from transformers import PreTrainedTokenizerBase

#: With what templates are known to change: marks of HTML and JSON, a line's end, upper case.
_QUESTION = "Is it a \"bell\" <b> & a 'horn'?\nOr the Caf\u00e9 {c} [D]?"
_ANSWER = 'It\'s "E" & <f>, not {g}.'
_AGAIN = "And \"now\", <c> & 'd'?"
_SYSTEM = 'You hear "h" & <i>.'
#: For templates that would write today's date into every prompt: always the same.
_NOW = datetime(2024, 7, 26)
_DATE = "26 Jul 2024"  # by `date_string` (Llama 3.2)
_DIRECTIVES = [*"aAbBcCdDeFGhHIjklmMpPrRSTuUVwWxXyY", *(f"-{d}" for d in "dHIjmMSy")]
_DATES = {f"%{d}": _NOW.strftime(f"%{d}") for d in _DIRECTIVES}
#: In front of a template: in place of the function by which SmolLM3 and gpt-oss ask for the date.
#: transformers takes texts only from outside, no functions. The template begins on a line of its
#: own, as transformers leaves out the space in front of a line's first tag.
_STRFTIME = (
    "{%- macro strftime_now(format) -%}{%- set said = namespace(text=format) -%}"
    "{%- for directive, value in fixed_dates.items() -%}"
    "{%- set said.text = said.text | replace(directive, value) -%}"
    "{%- endfor -%}{{- said.text -}}{%- endmacro %}\n"
)
#: Whose messages are lists of parts: those of multimodal models may take these only.
_IN_PARTS = ((), ("system", "user", "assistant"), ("system", "user"), ("user",))
#: At the end of a prompt that has the model think first (DeepSeek-R1).
_THOUGHT_OPENS = re.compile(r"(?:<(?:\w+:)?think(?:ing)?>|\[THINK\])\s*$", re.I)


@dataclass(frozen=True)
class ChatForm:
    """A chat template, as far as one question and its answer need it.

    Attributes:
        pieces: the prompt, cut where the question stands; two texts, more if it stands twice.
        behind: what follows an answer.
        between: what stands between an answer and the next question, behind which the answer opens
            as behind the first; None where the template writes a second turn otherwise.
    """

    pieces: tuple[str, ...]
    behind: str
    between: str | None = None


def read_chat_form(tokenizer: PreTrainedTokenizerBase, system: str | None = None) -> ChatForm:
    """Try a tokenizer's chat template.

    Args:
        tokenizer: with a chat template.
        system: system message; None leaves it to the template.

    Raises:
        ValueError: the template fails, or question, answer or system message do not come out as
            they went in; names the tokenizer and says what came.
    """
    reasons = []
    for parts in _IN_PARTS:
        try:
            return _tried(tokenizer, system, parts)
        except Exception as error:  # code of others may fail in any way
            reasons.append(str(error) or type(error).__name__)
    told = "; given as a list of parts, ".join(dict.fromkeys(reasons[:2]))
    raise ValueError(
        f"the chat template of {tokenizer.name_or_path or 'the tokenizer'} cannot be used: {told}. "
        "Choose a plain form by llm.prompt, or repair the template"
        + ("" if system is None else ", or leave llm.system out")
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
    # Such a template knows no generation prompt, leaves the channel of the answer to the model
    # (gpt-oss), or has it think first; what is trained is an answer.
    marks = front[len(prompt) :] if front.startswith(prompt) else ""
    if marks.strip() or (_THOUGHT_OPENS.search(prompt) and _QUESTION in front):
        prompt = front
    pieces = tuple(prompt.split(_QUESTION))
    return ChatForm(pieces, behind, _between(written, asked, pieces))


def _between(
    written: Callable[..., str], asked: list[tuple[str, str]], pieces: tuple[str, ...]
) -> str | None:
    """See `ChatForm`."""
    again = [("assistant", _ANSWER), ("user", _AGAIN)]
    try:
        whole = written(*asked, *again, *again, opened=True)
    except Exception:  # of a template that knows one turn only
        return None
    opened = whole.rpartition(_AGAIN)[2]
    first, *rest = whole.removesuffix(opened).split(_ANSWER)
    between = rest[0].removesuffix(_AGAIN + pieces[-1])
    alike = rest == [between + _AGAIN + pieces[-1], between + _AGAIN]
    # Of a prompt in which the model thinks first, the answer's channel is written here too.
    opens = opened and pieces[-1].startswith(opened)
    return between if alike and opens and first == _QUESTION.join(pieces) else None


def _expect(text: str, written: str, what: str) -> None:
    if text not in written:
        raise ValueError(f"the {what} {text!r} comes out as {written!r:.400}")


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
        enable_thinking=False,  # known to Qwen3 and SmolLM3, ignored by the others
    )
