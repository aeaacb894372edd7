"""Attention pictures: the weights of each word, at their time, with what they are and cost."""

import re

import numpy as np
import pytest
import torch

from pal_plugin.hosts.page.attention import attended, by_moment, pictures
from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.talk import Talk
from pal_plugin.models.attention_weights import AnswerAttention, ClipWeights, attention_weights
from pal_plugin.serving.engine import Engine

SECONDS = torch.tensor([[0, 0.5], [0, 0.5], [0.5, 1.0]])


def test_tokens_of_one_moment_are_joined():
    spans, sums = by_moment(SECONDS, torch.tensor([0.125, 0.25, 0.5]))
    assert spans == [(0, 0.5), (0.5, 1.0)]
    assert sums == [0.375, 0.5]


def test_words_share_one_scale_and_name_their_sum():
    weights = torch.tensor([[0.1, 0.1, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.2]])[None].repeat(
        2, 1, 1
    )
    part = ClipWeights(0, "general", "lal", (0, 1), SECONDS, weights)
    clip = PageClip("<dog>", np.zeros(8, np.float32), 8)
    html = pictures(AnswerAttention((" a", " bar", "k"), (part,)), [clip])
    assert "Clip 1 (&lt;dog&gt;), tokens &#x27;general&#x27;, by LAL" in html
    a, bark = re.findall(r'<path d="(M0\.000[^"]+)"', html)
    assert a == "M0.000 1V0.3333H0.500V1ZM0.500 1V1.0000H1.000V1Z"
    assert bark == "M0.000 1V1.0000H0.500V1ZM0.500 1V0.0000H1.000V1Z"
    assert "a: 20.0% on these tokens, most from 0.0 to 0.5 s" in html
    assert "bark: 30.0% on these tokens, most from 0.5 to 1.0 s" in html
    assert "A full strip is 30.00% of the attention on one moment of 0.50 s" in html


def test_the_pictures_of_an_answer_say_what_they_are_and_cost(tiny_model, two_clips):
    model, (samples, rate_hz) = tiny_model("pal"), two_clips["audio"][0]
    clip = PageClip("bell", samples, rate_hz)
    talk = Talk().asking("What is it?", clip).with_last(heard="a loud bell")
    expected = pictures(attention_weights(model, talk.messages(), "a loud bell"), [clip])
    with Engine(model) as engine:
        html = attended(engine, talk)
    assert html.startswith(expected)
    assert html.count("<figure") == 2  # by LAL and by PLITS
    said = html.removeprefix(expected)
    for name in ("What this is", "What it is not", "What it costs"):
        assert f"<b>{name}:</b>" in said
    assert re.search(r"here \d+\.\d s\.", said)


def test_a_model_without_such_weights_says_so(tiny_model, two_clips):
    clip = PageClip("bell", *two_clips["audio"][0])
    talk = Talk().asking("What is it?", clip).with_last(heard="a bell")
    with Engine(tiny_model("flamingo")) as engine, pytest.raises(ValueError, match="flamingo"):
        attended(engine, talk)
