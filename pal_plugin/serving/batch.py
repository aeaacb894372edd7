"""Answers that are generated together: who is in which row, and one step for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import DynamicCache

from pal_plugin.serving import kv_cache
from pal_plugin.serving.answer import Answer
from pal_plugin.serving.rows import Rows


class Batch:
    """Answers, each in a row.

    Args:
        llm: what generates.
        answers, rows: read just now.

    Attributes:
        answers: in the order of the rows.
    """

    def __init__(self, llm: nn.Module, answers: Sequence[Answer], rows: Rows) -> None:
        self.llm, self.answers, self._rows = llm, list(answers), rows

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def takes_others(self) -> bool:
        """Whether others can join: the LLM keeps nothing but keys and values of columns."""
        return kv_cache.is_mergeable(self._rows.cache)

    def join(self, other: Batch) -> None:
        """Takes the answers of another batch in."""
        self._rows = Rows.merged([self._rows, other._rows])
        self.answers += other.answers

    def keep(self, wanted: Callable[[Answer], bool]) -> list[Answer]:
        """Drops all other answers, and returns them."""
        stays = [wanted(answer) for answer in self.answers]
        if all(stays):
            return []
        kept = [place for place, stay in enumerate(stays) if stay]
        self._rows = self._rows.select(kept) if kept else None
        gone = [answer for answer, stay in zip(self.answers, stays, strict=True) if not stay]
        self.answers = [self.answers[place] for place in kept]
        return gone

    def cache_of(self, answer: Answer) -> DynamicCache:
        """Keys and values of one answer, without padding."""
        row = self.answers.index(answer)
        columns = int(self._rows.mask[row].sum())
        index = torch.tensor([row], device=self._rows.mask.device)
        return kv_cache.selected(self._rows.cache, index, columns)

    def choose(self) -> dict[Answer, Exception]:
        """The next token of every answer; returns those for which there is none, with the reason
        (logits that are no numbers)."""
        logits, failed = self._rows.logits, {}
        likeliest = logits.argmax(-1).tolist()
        for row, answer in enumerate(self.answers):
            token = likeliest[row]
            try:
                if not answer.choice.is_likeliest:
                    token = answer.choice(answer.written.ids, logits[row])
                answer.take(token, logits[row])
            except Exception as error:
                failed[answer] = error
        return failed

    def step(self) -> None:
        """Reads the chosen tokens. What fails leaves the answers as they were."""
        tokens = [answer.written.ids[-1] for answer in self.answers]
        device = self._rows.logits.device
        self._rows = self._rows.step(self.llm, torch.tensor(tokens, device=device))
