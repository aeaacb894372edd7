"""The conversation as HTML: both answers, clips by number, and no markup of others."""

import numpy as np

from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.talk import Talk, Turn
from pal_plugin.hosts.page.transcript import NOTHING_YET, answer, transcript

DOG, RAIN = (PageClip(name, np.zeros(12, np.float32), 8) for name in ("dog", "<i>rain"))


def test_an_empty_conversation_says_what_to_do():
    assert NOTHING_YET in transcript(Talk())


def test_turns_show_their_clips_and_both_answers():
    talk = Talk((Turn("What?", (DOG,), "a <dog>", "rain"), Turn("And?", (RAIN,), "yes", "")))
    html = transcript(talk)
    assert html.index("Clip 1: dog, 1.5 s") < html.index("a &lt;dog&gt;") < html.index("And?")
    assert "Clip 2: &lt;i&gt;rain" in html
    assert html.count("Audio masked") == 2
    assert html.count("no text") == 1  # of the second, masked
    assert 'aria-busy="true"' not in html
    assert "role" not in html


def test_the_answer_that_is_coming_is_marked():
    talk = Talk((Turn("What?", (DOG,), "a dog", "rain"), Turn("And?", (), "ye")))
    html = transcript(talk, waiting=True)
    assert html.count('aria-busy="true"') == 1
    assert html.index("a dog") < html.index('aria-busy="true"') < html.index("ye<span")
    assert "no text" not in html


def test_a_problem_is_said_aloud():
    html = transcript(Talk((Turn("What?", (DOG,), problem="It is <full>."),)))
    assert 'role="alert">It is &lt;full&gt;.' in html


def test_an_answer_has_its_name():
    assert '<p class="pal-name">A &amp; B</p><p>yes</p>' in answer("A & B", "yes")
