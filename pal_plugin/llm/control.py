"""Control tokens: text that merely spells one is encoded as text.

`<|im_end|>` in a question would end the question, `</s>` in a caption would end the target.

Design choice: text that spells no control token, i.e. nearly all text, is tokenized in one piece,
    so
that it gets the usual tokens; only the rest takes the slow path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from transformers import AddedToken, PreTrainedTokenizerBase


class ControlTokens:
    """The control tokens of a tokenizer: those it calls special, and others in its chat template
    (`<think>` of Qwen3), except white space (as in Gemma's template).

    Args:
        tokenizer: the LLM's tokenizer.
        template: its chat template, None if it has none.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | None) -> None:
        self.tokenizer = tokenizer
        added = {
            number: token
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special or (token.content in (template or "") and not token.content.isspace())
        }
        self.ids = frozenset(added)
        self._spelled = {number: token.content for number, token in added.items()}
        self._numbers = {token.content.strip(): number for number, token in added.items()}
        marks = sorted(map(_pattern_of, added.values()), key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(marks)})")

    def encode(self, text: str, **options: bool) -> list[int]:
        """Token ids, with control tokens where the text spells them."""
        return self.tokenizer(text, add_special_tokens=False, **options)["input_ids"]

    def encode_text(self, text: str) -> list[int]:
        """Token ids without control tokens, whatever the text spells."""
        ids = self.encode(text)
        if self.ids.isdisjoint(ids):
            return ids
        ids = self.encode(text, split_special_tokens=True)
        # Remaining: control tokens not called special, or that are also ordinary words.
        left = [self._spelled[number] for number in self.ids.intersection(ids)]
        places = [text.find(mark) for mark in left if len(mark) > 1 and mark in text]
        if not places:
            return ids
        cut = min(places) + 1  # inside the marker
        return self.encode_text(text[:cut]) + self.encode_text(text[cut:])

    def behind(self, mark: int, text: str) -> str | None:
        """What follows a given control token at the start of the text; None if it is not there."""
        front, *rest = self.cut(text)
        if not rest or str(front).strip() or rest[0] != mark:
            return None
        return "".join(p if isinstance(p, str) else self._spelled[p] for p in rest[1:])

    def cut(self, text: str) -> list[str | int]:
        """The text split into runs between control tokens, and these as ids."""
        if not self.ids:
            return [text]
        parts = self._pattern.split(text)
        return [
            self._numbers[part.strip()] if number % 2 else part for number, part in enumerate(parts)
        ]


class Frame:
    """Text around a question.

    Args:
        controls: the tokenizer's control tokens.
        pieces: the text, split at the question; control tokens in it are real.
    """

    def __init__(self, controls: ControlTokens, pieces: Sequence[str]) -> None:
        self.controls, self.pieces = controls, tuple(pieces)

    def halves(self) -> tuple[Frame, Frame]:
        """The text before and after the question, as frames.

        Raises:
            ValueError: if the question is repeated.
        """
        if len(self.pieces) != 2:
            raise ValueError(
                f"this prompt repeats the question {len(self.pieces) - 1} times; audio between "
                "text needs a prompt that contains it once (llm.prompt)"
            )
        front, behind = self.pieces
        return Frame(self.controls, (front, "")), Frame(self.controls, ("", behind))

    def encode(self, question: str) -> list[int]:
        """Token ids of the frame with a question, in which no control tokens are recognized."""
        ids = self.controls.encode(question.join(self.pieces))
        if self._found(ids) == self._own:
            return ids
        ids, run = [], ""
        for number, piece in enumerate(self.pieces):
            run += question if number else ""
            for part in self.controls.cut(piece):
                if isinstance(part, int):
                    ids += [*(self.controls.encode_text(run) if run else ()), part]
                    run = ""
                else:
                    run += part
        return ids + (self.controls.encode_text(run) if run else [])

    @cached_property
    def _own(self) -> list[int]:
        """The control tokens of the frame."""
        return [i for piece in self.pieces for i in self._found(self.controls.encode(piece))]

    def _found(self, ids: Sequence[int]) -> list[int]:
        return [i for i in ids if i in self.controls.ids]


def _pattern_of(token: AddedToken) -> str:
    """A token may include adjacent white space (Phi-3)."""
    before, behind = (r"\s*" if takes else "" for takes in (token.lstrip, token.rstrip))
    return before + re.escape(token.content) + behind
