"""Prompts are read together, and one by one where one of them cannot be read."""

import logging
import weakref

import torch

from pal_plugin.serving.answer import Answer
from pal_plugin.serving.clip_cache import ClipCache
from pal_plugin.serving.prefix_cache import PrefixCache
from pal_plugin.serving.prompt import prompt_of
from pal_plugin.serving.reading import Reader, told
from pal_plugin.serving.requests import Request
from pal_plugin.serving.ticket import Ticket


def test_one_prompt_does_not_spoil_the_others(tiny_model, two_clips):
    model, (samples, rate) = tiny_model("lal"), two_clips["audio"][0]

    def answer(*clips):
        parts = [{"type": "audio", "audio": clip} for clip in clips]
        messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]}]
        ticket = Ticket(Request(messages))
        return Answer(ticket, prompt_of(model, messages), model.text, [], model.device)

    reader = Reader(model, ClipCache(model, 1 << 20), PrefixCache(0))
    good, silent = answer((samples, rate)), answer()
    ((answers, rows),), failed = reader.read([good, silent])
    assert (answers, failed, len(rows)) == ([good, silent], [], 2)
    assert good.audio_tokens > silent.audio_tokens == 0
    assert good.prompt_tokens == silent.prompt_tokens == len(good.prompt.ids)
    bad = answer((samples[:0], rate))
    read, failed = reader.read([good, bad, silent])
    assert [answers for answers, _ in read] == [[good], [silent]]
    ((culprit, error),) = failed
    assert culprit is bad
    assert "no samples" in str(error)


def test_an_error_that_is_told_holds_no_tensors(caplog):
    seen = []

    def fail():
        held = torch.zeros(9)
        seen.append(weakref.ref(held))
        raise RuntimeError("no memory left")

    kept = None
    with caplog.at_level(logging.ERROR):
        try:
            fail()
        except RuntimeError as error:
            kept = told(error)
    assert seen[0]() is None
    assert kept.__traceback__ is not None
    assert "no memory left" in caplog.text
