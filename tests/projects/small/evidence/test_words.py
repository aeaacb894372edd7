"""The paragraph's statements follow the intervals, whichever way they fall."""

import pytest

from pal_plugin.evaluation.metrics.bootstrap import Interval


@pytest.fixture
def words(module):
    return module("evidence.words")


@pytest.fixture
def pairs(module):
    """`pairs(accuracy=(low, value, high), ...)`: differences by figure."""
    difference = module("evidence.answers").Difference

    def make(**limits):
        return {
            figure: difference([0], [value], Interval(value, low, high))
            for figure, (low, value, high) in limits.items()
        }

    return make


def said(words, found):
    """The statements, without the ends of lines."""
    text = words.statements(found)
    assert max(map(len, text.splitlines())) <= words.WIDTH
    return text.replace("\n", " ")


def test_less_is_better_of_word_errors(words, pairs):
    above, around, below = (pairs(wer=(v - 0.1, v, v + 0.1))["wer"] for v in (0.2, 0.05, -0.2))
    assert [words.verdict(i, "accuracy") for i in (above, around, below)] == [
        "better",
        "open",
        "worse",
    ]
    assert [words.verdict(i, "wer") for i in (above, around, below)] == ["worse", "open", "better"]


def test_lal_better(words, pairs):
    lal = pairs(accuracy=(0.01, 0.03, 0.05), accuracy_said=(-0.02, 0.01, 0.04))
    text = said(words, {"lal": lal})
    assert "ranking +3.0 points [1.0, 5.0] (better)" in text
    assert "said answer +1.0 points [-2.0, 4.0] (the interval holds 0" in text
    assert "That agrees, by ranking." in text
    assert "A deficit of up to 2.0 points by said answer is not excluded." in text
    assert (
        "PLITS better than LAL: not shown by said answer, the opposite is seen by ranking" in text
    )
    assert "Both routes: there are no runs yet to set beside PLITS." in text


def test_lal_worse_and_flamingo_behind(words, pairs):
    found = {
        "lal": pairs(accuracy=(-0.05, -0.03, -0.01), wer=(0.1, 0.2, 0.3)),
        "both": pairs(accuracy=(0.01, 0.02, 0.03)),
        "flamingo": pairs(accuracy=(-0.5, -0.4, -0.3)),
    }
    text = said(words, found)
    assert "WER +0.200 [0.100, 0.300] (worse)" in text
    assert "By ranking and WER that does not hold here." in text
    assert "PLITS better than LAL: seen by ranking and WER" in text
    assert "both routes better than PLITS: seen by ranking" in text
    assert "Flamingo behind PLITS: seen by ranking." in text


def test_a_seed_that_points_the_other_way_leaves_it_open(words, module):
    pair = module("evidence.answers").Difference([0, 1], [0.05, -0.01], Interval(0.02, 0.01, 0.03))
    text = said(words, {"lal": {"accuracy": pair}})
    assert "ranking +2.0 points [1.0, 3.0] (seeds point both ways, no difference is shown)" in text
    assert "Nothing here contradicts it, and nothing shows it either." in text
    assert "A deficit" not in text


def test_nothing_is_shown(words, pairs):
    lal = pairs(accuracy=(-0.01, 0.0, 0.01), wer=(-0.1, 0.0, 0.2))
    text = said(words, {"lal": lal})
    assert "Nothing here contradicts it, and nothing shows it either." in text
    assert "A deficit of up to 1.0 points by ranking and 0.200 by WER is not excluded." in text
    assert "By " not in text
