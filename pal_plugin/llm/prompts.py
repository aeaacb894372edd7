"""The one place that turns a question into a prompt and an answer into a target.

The LLM's own chat template decides by default; LLMs without one, or with weights that were tuned on
another form, take a plain form by name. Audio is not marked by a placeholder: PLITS puts it in
front of the whole prompt, LAL beside it.
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
#: Plain forms by name. `ltu`: what LTU and GAMA were instruction-tuned with (the short Alpaca form,
#: `alpaca_short.json` in LTU's repository).
PLAIN = {"ltu": "### Instruction:\n{question}\n\n### Response:\n"}


@dataclass(frozen=True)
class TextFormat:
    """A tokenizer together with the form of a prompt.

    What spells a control token in a question or an answer is text, in the form itself it is meant.

    Args:
        tokenizer: of the LLM.
        prompt: "chat" (the tokenizer's chat template), a name in `PLAIN`, or a form of your own: a
            text with `{question}` in it.
        system: system message of the chat template; None leaves it to the template.

    Raises:
        ValueError: the tokenizer has no chat template, one that does not write what it is given
            (see `read_chat_form`), or no end mark; or an unknown form.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt: str = CHAT
    system: str | None = None
    end_id: int = field(init=False)

    def __post_init__(self) -> None:
        if self.prompt == CHAT:
            if not self.tokenizer.chat_template:
                raise ValueError(
                    "the tokenizer has no chat template (a base LLM?); choose a plain form, "
                    f"llm.prompt: one of {', '.join(PLAIN)} or a text with {{question}} in it"
                )
        elif "{question}" not in self._plain:
            raise ValueError(
                f"llm.prompt is {self.prompt!r}; expected {CHAT!r}, one of {', '.join(PLAIN)}, or "
                "a text with {question} in it"
            )
        elif self.system is not None:
            raise ValueError(f"llm.system needs llm.prompt: {CHAT}; write it into the plain form")
        object.__setattr__(self, "end_id", self._end_id())

    def prompt_ids(self, question: str) -> list[int]:
        """Token ids of the prompt, with the beginning mark where template or tokenizer set one."""
        return [*self.beginning, *self._frame.encode(question.strip())]

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of the answer and the end mark."""
        return [*self._controls.encode_text(answer.strip()), self.end_id]

    def tokenized(self, batch: Batch) -> Batch:
        """The batch with `prompt_ids` and `answer_ids`.

        Raises:
            ValueError: texts that are no lists of strings, or not equally many, or a question that
                is empty.
        """
        questions, answers = questions_of(batch), texts_of(batch, "text_output")
        if len(questions) != len(answers):
            raise ValueError(f"{len(questions)} questions and {len(answers)} answers")
        return {
            **batch,
            "prompt_ids": [self.prompt_ids(question) for question in questions],
            "answer_ids": [self.answer_ids(answer) for answer in answers],
        }

    def frame(self, system: str | None = None, first: bool = True) -> Frame:
        """What stands around the question of a turn.

        Args:
            system: system message of this conversation; None: that of `self.system`.
            first: of the first turn; a later one follows the end mark of an answer.

        Raises:
            ValueError: a plain form and a system message, or a template that has no second turn of
                the form of the first.
        """
        if self.prompt != CHAT and system is not None:
            raise ValueError(
                f"llm.prompt is a plain form ({self.prompt!r}), which has no system message; "
                f"choose llm.prompt: {CHAT}, or leave the system message out"
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
                    "the chat template writes a second turn in another way than the first: ask "
                    "with one question, or choose a plain form (llm.prompt)"
                )
            return Frame(self._controls, (between, form.pieces[-1]))
        plain = self._plain_pieces
        # A plain form that is the template's own, short of its beginning, goes on as that does.
        same = between and form.pieces[-1] == plain[-1] and between.endswith(plain[0])
        return Frame(self._controls, (between, plain[-1]) if same else plain)

    def decode(self, ids) -> str:
        """Text of generated ids up to the first end mark, without special tokens."""
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
        """What ends a generated answer: the end of a turn, and that of a text.

        The chat template's mark is among them for a plain form too: an LLM that was tuned on the
        template ends its answers with it, whatever the prompt.
        """
        turn = None
        if self.tokenizer.chat_template:
            # A plain form may have been chosen because the template cannot be used.
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
        # Not str.format: forms and questions may hold braces.
        return tuple(self._plain.split("{question}"))

    def _form(self, system: str | None) -> ChatForm | None:
        """The chat template with a system message; None where a plain form has none to look at."""
        if self.prompt == CHAT:
            return self._chat if system is None else read_chat_form(self.tokenizer, system)
        form = None
        if self.tokenizer.chat_template:
            with contextlib.suppress(ValueError):
                form = self._chat
        return form

    @cached_property
    def beginning(self) -> list[int]:
        """Token ids in front of a prompt: of a plain form the tokenizer's mark; a chat template
        writes its own."""
        marks = [] if self.prompt == CHAT else self.tokenizer("")["input_ids"]
        return [mark for mark in marks if mark == self.tokenizer.bos_token_id][:1]

    def _end_of_turn(self) -> int | None:
        """The control token that the template sets behind an answer, which need not be the
        tokenizer's end of text (Gemma ends a turn otherwise)."""
        ids = self._controls.encode(self._chat.behind)
        return next((i for i in ids if i in self._controls.ids), None)

    def _end_id(self) -> int:
        """The mark that an answer is trained to end with: the template's, or of a plain form the
        tokenizer's."""
        turn = self._end_of_turn() if self.prompt == CHAT else None
        if turn is not None:
            return turn
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no eos_token, so no answer would ever end")
        return self.tokenizer.eos_token_id
