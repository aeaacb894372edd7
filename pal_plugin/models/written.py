"""An answer while it is written: its tokens one by one, and the text that will not change."""

from __future__ import annotations

from collections.abc import Sequence

from pal_plugin.llm.prompts import TextFormat

#: What a tokenizer writes for a part of a character.
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
#: Tokens that are decoded together: the text in front of them stands, so that a long answer is not
#: decoded anew with every token.
_TOGETHER = 32


class Written:
    """Collects the tokens of one answer, and finds its end.

    Args:
        text: tokenizer and end tokens.
        stop: texts that end the answer and are left out of it; not empty.

    Attributes:
        ids: the tokens so far, the one that ended the answer included.
        ended: whether an end token or a stop string has come.
    """

    def __init__(self, text: TextFormat, stop: Sequence[str] = ()) -> None:
        self.ids: list[int] = []
        self.ended = False
        self._text, self._stop = text, tuple(stop)
        self._given = 0  # characters
        self._settled, self._from, self._to = "", 0, 0

    def add(self, token: int) -> bool:
        """The next token; returns whether the answer has ended."""
        self.ids.append(token)
        self.ended = token in self._text.end_ids
        if not self.ended and self._stop:
            said = self._said()
            self.ended = self._cut(said) < len(said)
        return self.ended

    def piece(self) -> str:
        """The text since the last piece, as far as later tokens cannot change it: no part of a
        character or of a stop string, and no white space at its end, which may be the answer's."""
        if self.ended:
            return self.rest()
        said = self._said().rstrip(_UNFINISHED)
        begun = 0
        for stop in self._stop:
            parts = (n for n in range(len(stop) - 1, begun, -1) if said.endswith(stop[:n]))
            begun = next(parts, begun)
        return self._next(said[: len(said) - begun].strip())

    def rest(self) -> str:
        """The text since the last piece, up to the end."""
        return self._next(self.whole())

    def whole(self) -> str:
        """The whole text: up to the end, without special tokens, white space around it, and the
        stop string."""
        said = self._text.tokenizer.decode(self._spoken(), skip_special_tokens=True)
        return said[: self._cut(said)].strip()

    def _next(self, text: str) -> str:
        piece, self._given = text[self._given :], max(self._given, len(text))
        return piece

    def _cut(self, said: str) -> int:
        """Where the first stop string begins."""
        found = (said.find(stop) for stop in self._stop)
        return min((at for at in found if at >= 0), default=len(said))

    def _said(self) -> str:
        """The text so far, white space included. Tokens are decoded behind a few that were decoded
        before, since a tokenizer writes the first one of a text differently."""
        ids, decode = self._spoken(), self._text.tokenizer.decode
        text = decode(ids[self._from :], skip_special_tokens=True)
        if self._to > self._from:
            known = decode(ids[self._from : self._to], skip_special_tokens=True)
            text = self._settled + text[len(known) :]
        if len(ids) - self._to >= _TOGETHER and not text.endswith(_UNFINISHED):
            self._settled, self._from, self._to = text, self._to, len(ids)
        return text

    def _spoken(self) -> list[int]:
        """The ids in front of the end token."""
        return self.ids[:-1] if self.ids and self.ids[-1] in self._text.end_ids else self.ids
