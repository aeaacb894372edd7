"""The table of labels."""

import sys

import pytest

from pal_plugin.commands.ask_output import bars, noted, ranking


def test_labels_are_in_the_order_of_their_probabilities():
    rows = ranking(["a", "b"], [0.25, 0.75], [0.5, 0.5])
    assert rows == [
        {"label": "b", "probability": 0.75, "probability_masked": 0.5},
        {"label": "a", "probability": 0.25, "probability_masked": 0.5},
    ]
    assert "probability_masked" not in ranking(["a"], [1.0])[0]


@pytest.mark.parametrize("masked", [None, [0.5, 0.5]])
def test_bars_are_as_long_as_the_probability(masked):
    table = bars(ranking(["a", "b"], [0.25, 0.75], masked)).splitlines()
    full = "█" if "utf" in sys.stdout.encoding.lower() else "#"
    assert table[2].split()[:3] == ["b", "0.750", full * 18]
    assert table[3].split()[:3] == ["a", "0.250", full * 6]
    assert ("audio masked" in table[0]) == bool(masked)


def test_remarks_are_on_stderr(capsys):
    noted("remark")
    assert capsys.readouterr() == ("", "remark\n")
