"""Rows and answers stay beside each other, whoever joins, leaves, or has no next token."""

import torch

from pal_plugin.serving.answer import Answer
from pal_plugin.serving.batch import Batch
from pal_plugin.serving.clip_cache import ClipCache
from pal_plugin.serving.prefix_cache import PrefixCache
from pal_plugin.serving.prompt import prompt_of
from pal_plugin.serving.reading import Reader
from pal_plugin.serving.requests import Request
from pal_plugin.serving.ticket import Ticket


def batch(model, *requests):
    answers = [
        Answer(Ticket(r), prompt_of(model, r.messages), model.text, [], model.device)
        for r in requests
    ]
    ((read, rows),), failed = Reader(model, ClipCache(model, 0), PrefixCache(0)).read(answers)
    assert not failed
    return Batch(model.llm, read, rows)


def test_rows_follow_their_answers(tiny_model):
    model = tiny_model("plits")
    ask = [{"role": "user", "content": "Hello"}]
    greedy, drawn = Request(ask), Request(ask, temperature=1.0, seed=0)
    both = batch(model, greedy, drawn)
    assert both.takes_others
    first, second = both.answers
    both.join(batch(model, greedy))
    assert not both.choose()
    both.step()
    third = both.answers[2]
    assert first.written.ids == third.written.ids
    assert both.keep(lambda answer: answer is not first) == [first]
    assert both.answers == [second, third]
    both._rows.logits[0] = torch.nan
    failed = both.choose()
    assert list(failed) == [second]
    assert "inf" in str(failed[second])
    assert len(third.written.ids) == 2
    assert both.keep(lambda answer: False) == [second, third]
    assert not both
