"""Axes: round values, in their places, with words for who cannot see them."""

import pytest

from pal_plugin.hosts.page.axes import framed, of_time, steps


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 5, 6, [0, 1, 2, 3, 4, 5]),
        (0, 0.3, 6, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
        (0, 600, 6, [0, 100, 200, 300, 400, 500, 600]),
        (-0.98, 0.98, 5, [-0.5, 0, 0.5]),
        (0, 11, 6, [0, 2, 4, 6, 8, 10]),
        (0, 23, 6, [0, 5, 10, 15, 20]),
        (0, 0, 6, []),
    ],
)
def test_steps_are_round(low, high, most, expected):
    assert steps(low, high, most) == pytest.approx(expected)


def test_labels_stand_where_their_values_are():
    assert of_time(4.0, 4) == [("0", 0), ("1", 0.25), ("2", 0.5), ("3", 0.75), ("4", 1)]
    assert [text for text, _ in of_time(0.3)][:3] == ["0", "0.05", "0.1"]


def test_a_picture_has_words_and_no_markup_of_others():
    html = framed("<svg/>", 'a "wave" <b>', [("1", 0.5)], [("9", 0.25)], "Time (s)", "Hz")
    assert 'role="img" aria-label="a &quot;wave&quot; &lt;b&gt;"' in html
    assert '<span style="left:50.00%">1</span>' in html
    assert '<span style="bottom:25.00%">9</span>' in html
