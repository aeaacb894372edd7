"""Pictures show what is in the clip, where the axes say."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from pal_plugin.hosts.page import pictures
from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.pictures import HIGHEST_HZ, log_mel, picture, png, strip, waveform


def tone(hz, seconds, rate_hz=22_050, start_s=0.0):
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = 0.5 * np.sin(2 * np.pi * hz * time) * (time >= start_s)
    return PageClip("tone", samples.astype(np.float32), rate_hz)


@pytest.mark.parametrize("hz", [500, 1000, 4000])
def test_a_tone_lies_at_its_label_of_the_frequency_axis(hz):
    html = picture(tone(hz, 1.0))
    (label,) = re.findall(rf'bottom:([\d.]+)%">{hz}<', html)
    levels = log_mel(tone(hz, 1.0)).mean(1)
    assert float(levels.argmax() + 0.5) / len(levels) == pytest.approx(float(label) / 100, abs=0.02)


def test_a_sound_begins_at_its_label_of_the_time_axis():
    clip = tone(1000, 4.0, start_s=3.0)
    (label,) = re.findall(r'left:([\d.]+)%">3<', picture(clip))[:1]
    heard = log_mel(clip).amax(0) > 0.5
    assert int(heard.nonzero()[0]) / len(heard) == pytest.approx(float(label) / 100, abs=0.01)
    path = re.search(r'd="M([^"]+)Z"', waveform(clip))[1].split()
    upper = {int(x): float(y) for x, y in zip(path[:1600:2], path[1:1600:2], strict=True)}
    assert {y for x, y in upper.items() if x < 599} == {100.0}  # the middle
    assert max(y for x, y in upper.items() if x > 601) < 20


def test_long_clips_have_as_many_columns_as_short_ones():
    assert log_mel(tone(300, 30.0)).shape == (80, pictures.COLUMNS)
    assert log_mel(tone(300, 0.02)).shape == (80, 2)
    assert len(picture(tone(300, 60.0))) < 200_000


@pytest.mark.parametrize("samples", [1, 399, 16_000])
def test_silence_and_tiny_clips_have_pictures(samples):
    clip = PageClip("<silence>", np.zeros(samples, np.float32), 16_000)
    assert not log_mel(clip).any()
    html = picture(clip)
    assert "&lt;silence&gt;" in html
    assert "<silence>" not in html
    assert "nan" not in html


def test_opacity_is_the_level_and_low_frequencies_are_at_the_bottom():
    levels = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.0, 0.0]])
    data = base64.b64decode(png(levels).removeprefix("data:image/png;base64,"))
    alpha = np.asarray(Image.open(io.BytesIO(data)).getchannel("A"))
    np.testing.assert_array_equal(alpha, [[51, 0, 0], [0, 255, 128]])


def test_columns_of_a_strip_are_as_wide_and_high_as_their_span_and_level():
    svg = strip([0.25, 1.0, 0.5], [(0, 0.5), (0.5, 1.0), (1.0, 1.5)], seconds=0.8)
    assert 'viewBox="0 0 0.800 1"' in svg
    assert 'd="M0.000 1V0.7500H0.500V1ZM0.500 1V0.0000H0.800V1Z"' in svg  # cut where it ends


def test_the_axis_ends_where_the_filters_do():
    assert HIGHEST_HZ == pictures.RATE_HZ / 2
    assert pictures._height(HIGHEST_HZ) == 1
