"""An answer gives its ticket what is certain, with the scores of all tokens, and ends once."""

import torch

from pal_plugin.llm.conversation import Turns
from pal_plugin.serving.answer import Answer
from pal_plugin.serving.requests import Request
from pal_plugin.serving.ticket import Ticket


def answer(model, given, **request):
    ticket = Ticket(Request([], **request), given.append)
    return Answer(ticket, Turns([], []), model.text, [], torch.device("cpu"))


def test_scores_wait_for_the_text_of_their_tokens(tiny_model):
    text = (model := tiny_model("lal")).text
    ids, given = text.answer_ids("a bell rings"), []
    mine = answer(
        model, given, max_new_tokens=len(ids), logprobs=True, top_logprobs=2, stop=("gs",)
    )
    logits = torch.zeros(len(text.tokenizer))
    for token in ids:
        logits[token] = 5.0
        mine.take(token, logits)
        logits[token] = 0.0
        if mine.ended:
            break
    assert "".join(delta.text for delta in given) == "a bell rin"
    scores = sum((delta.scores for delta in given), ())
    assert mine.done().scores == scores
    assert mine.done().completion.finish_reason == "stop"
    assert len(scores) == mine.done().completion.completion_tokens
    chance = torch.tensor([5.0, *[0.0] * (len(logits) - 1)]).log_softmax(0)
    assert {round(score.logprob, 4) for score in scores} == {round(float(chance[0]), 4)}
    assert all(score.top[0] == (score.token, score.logprob) for score in scores)
    assert all(len(score.top) == 2 for score in scores)


def test_the_length_limit_ends_it(tiny_model):
    text = (model := tiny_model("lal")).text
    ids, given = text.answer_ids("a bell rings"), []
    mine = answer(model, given, max_new_tokens=len(ids) - 1)
    for token in ids[:-1]:
        assert not mine.ended
        mine.take(token, torch.zeros(1))
    assert mine.ended
    assert mine.done().completion.finish_reason == "length"
    assert mine.done().completion.text == "".join(delta.text for delta in given) == "a bell rings"
    assert mine.done().completion.logprobs is None
