"""Formats questions as prompts and answers as targets; the only place that does.

Uses the LLM's own chat template by default; LLMs without one, or fine-tuned on another format, use
a named plain format. Audio has no placeholder: PLITS puts it before the whole prompt, LAL beside
it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from pal_plugin.batch import Batch, questions_of, texts_of
from pal_plugin.llm.chat_template import ChatForm, read_chat_form
from pal_plugin.llm.control import ControlTokens, Frame

CHAT = "chat"
#: Plain formats by name. `ltu`: the format that LTU and GAMA were instruction-tuned with (the short
#: Alpaca format, `alpaca_short.json` in LTU's repository).
PLAIN = {"ltu": "### Instruction:\n{question}\n\n### Response:\n"}


@dataclass(frozen=True)
class TextFormat:
    """A tokenizer with a prompt format.

    Text of a question or answer that spells a control token stays text; in the format itself it is
    a control token.

    Args:
        tokenizer: the LLM's tokenizer.
        prompt: "chat" (the tokenizer's chat template), a name in `PLAIN`, or a custom format: text
            that contains `{question}`.
        system: system message of the chat template; None: the template's default.

    Raises:
        ValueError: if the tokenizer has no chat template, an unusable one (see `read_chat_form`),
            or no end token; or if the format is unknown.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt: str = CHAT
    system: str | None = None
    end_id: int = field(init=False)

    def __post_init__(self) -> None:
        if self.prompt == CHAT:
            if not self.tokenizer.chat_template:
                raise ValueError(
                    "the tokenizer has no chat template (a base LLM?); set llm.prompt to a plain "
                    f"format: one of {', '.join(PLAIN)}, or text that contains {{question}}"
                )
        elif "{question}" not in self._plain:
            raise ValueError(
                f"llm.prompt is {self.prompt!r}; expected {CHAT!r}, one of {', '.join(PLAIN)}, or "
                "text that contains {question}"
            )
        elif self.system is not None:
            raise ValueError(f"llm.system needs llm.prompt: {CHAT}; include it in the plain format")
        object.__setattr__(self, "end_id", self._end_id())

    def prompt_ids(self, question: str) -> list[int]:
        """Token ids of the prompt, with a BOS token if template or tokenizer set one."""
        return [*self.beginning, *self._frame.encode(question.strip())]

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of the answer and the end token."""
        return [*self._controls.encode_text(answer.strip()), self.end_id]

    def tokenized(self, batch: Batch) -> Batch:
        """The batch with `prompt_ids` and `answer_ids`, lists of token ids.

        Raises:
            ValueError: if the texts are not lists of strings of equal length, or a question is
                blank.
        """
        questions, answers = questions_of(batch), texts_of(batch, "text_output")
        if len(questions) != len(answers):
            raise ValueError(f"got {len(questions)} questions, but {len(answers)} answers")
        return {
            **batch,
            "prompt_ids": [self.prompt_ids(question) for question in questions],
            "answer_ids": [self.answer_ids(answer) for answer in answers],
        }

    def frame(self, system: str | None = None, first: bool = True) -> Frame:
        """The text around the question of a turn.

        Args:
            system: system message of this conversation; None: `self.system`.
            first: whether it is the first turn; later ones follow the end token of an answer.

        Raises:
            ValueError: if a plain format gets a system message, or the template writes later turns
                differently from the first.
        """
        if self.prompt != CHAT and system is not None:
            raise ValueError(
                f"llm.prompt is a plain format ({self.prompt!r}) without system messages; set "
                f"llm.prompt: {CHAT}, or remove the system message"
            )
        if first and self.prompt != CHAT:
            return Frame(self._controls, self._plain_pieces)
        form = self._form(system)
        if first:
            return Frame(self._controls, form.pieces)
        between = form and form.between and self._controls.behind(self.end_id, form.between)
        if self.prompt == CHAT:
            if between is None:
                raise ValueError(
                    "the chat template writes later turns differently from the first: ask a single "
                    "question, or set llm.prompt to a plain format"
                )
            return Frame(self._controls, (between, form.pieces[-1]))
        plain = self._plain_pieces
        # A plain format equal to the template's, up to its beginning, continues like it.
        same = between and form.pieces[-1] == plain[-1] and between.endswith(plain[0])
        return Frame(self._controls, (between, plain[-1]) if same else plain)

    def decode(self, ids) -> str:
        """Text of generated ids up to the first end token, without special tokens."""
        ids = [int(i) for i in ids]
        end = next((at for at, i in enumerate(ids) if i in self.end_ids), len(ids))
        return self.tokenizer.decode(ids[:end], skip_special_tokens=True).strip()

    @property
    def pad_id(self) -> int:
        """Padding token; the end token if the tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return self.end_id if pad is None else pad

    @cached_property
    def end_ids(self) -> list[int]:
        """Ids that end a generated answer: end of turn and end of text.

        Includes the chat template's end token for plain formats, too: an LLM tuned with the
        template ends its answers with it, whatever the prompt.
        """
        turn = None
        if self.tokenizer.chat_template:
            # A plain format may have been chosen because the template is unusable.
            with contextlib.suppress(ValueError):
                turn = self._end_of_turn()
        return sorted({self.end_id, turn, self.tokenizer.eos_token_id} - {None})

    @property
    def _plain(self) -> str:
        return PLAIN.get(self.prompt, self.prompt)

    @cached_property
    def _chat(self) -> ChatForm:
        return read_chat_form(self.tokenizer, self.system)

    @cached_property
    def _controls(self) -> ControlTokens:
        template = None
        with contextlib.suppress(ValueError):  # none, or several without a default
            template = self.tokenizer.get_chat_template()
        return ControlTokens(self.tokenizer, template)

    @cached_property
    def _frame(self) -> Frame:
        return self.frame()

    @property
    def _plain_pieces(self) -> tuple[str, ...]:
        # Not str.format: formats and questions may contain braces.
        return tuple(self._plain.split("{question}"))

    def _form(self, system: str | None) -> ChatForm | None:
        """The chat template with a system message; None if a plain format has no usable one."""
        if self.prompt == CHAT:
            return self._chat if system is None else read_chat_form(self.tokenizer, system)
        form = None
        if self.tokenizer.chat_template:
            with contextlib.suppress(ValueError):
                form = self._chat
        return form

    @cached_property
    def beginning(self) -> list[int]:
        """Token ids before a prompt: the tokenizer's BOS for plain formats; a chat template writes
        its own."""
        marks = [] if self.prompt == CHAT else self.tokenizer("")["input_ids"]
        return [mark for mark in marks if mark == self.tokenizer.bos_token_id][:1]

    def _end_of_turn(self) -> int | None:
        """The control token that the template writes after an answer, which may differ from the
        tokenizer's EOS (as in Gemma)."""
        ids = self._controls.encode(self._chat.behind)
        return next((i for i in ids if i in self._controls.ids), None)

    def _end_id(self) -> int:
        """The end token of targets: the template's, or the tokenizer's for a plain format."""
        turn = self._end_of_turn() if self.prompt == CHAT else None
        if turn is not None:
            return turn
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no eos_token, so answers would never end")
        return self.tokenizer.eos_token_id
