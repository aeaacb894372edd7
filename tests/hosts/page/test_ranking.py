"""The ranking as bars: the probabilities that the engine gives, likeliest first."""

import re

import pytest

from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.ranking import bars, ranked
from pal_plugin.hosts.page.talk import Talk
from pal_plugin.serving.engine import Engine


def test_bars_are_sorted_and_as_long_as_their_share():
    html = bars(["rain", "<dog>"], [0.25, 0.75], [0.9, 0.1])
    assert html.index("&lt;dog&gt;") < html.index(">rain<")
    assert re.findall(r"width:([\d.]+)%", html) == ["75.00", "10.00", "25.00", "90.00"]
    assert re.findall(r"<b>([\d.]+)</b>", html) == ["0.75", "0.10", "0.25", "0.90"]


def test_the_labels_are_ranked_with_the_audio_and_without(tiny_model, two_clips):
    model, (samples, rate_hz) = tiny_model("lal"), two_clips["audio"][0]
    messages = Talk().asking("What is it?", PageClip("dog", samples, rate_hz)).messages()
    labels = ["a bell", "rain", "no"]
    with Engine(model) as engine:
        html = ranked(engine, messages, labels)
        with pytest.raises(ValueError, match="blank|expected text"):
            ranked(engine, messages, ["a", " "])
    batch = {"audio": [(samples, rate_hz)], "text_input": ["What is it?"]}
    expected = [
        model.predict_class(samples, labels)["probabilities"][0].tolist()
        for samples in (batch, {**batch, "audio_mask": [False]})
    ]
    assert html == bars(labels, *expected)
