"""Names in messages: what was meant, and the first of many."""

import pytest

from pal_plugin.utils.spelling import did_you_mean, first_of, reject_unknown


def test_the_nearest_names_are_told_or_all_where_none_is_near():
    assert did_you_mean("esc51", ["esc50", "clotho"]) == "Did you mean 'esc50'?"
    assert did_you_mean("zzz", ["esc50", "clotho"]) == "Known here: clotho, esc50."
    assert did_you_mean("zzz", []) == "Known here: nothing."


def test_the_first_of_many_end_in_dots():
    assert first_of(["a", "b"]) == "a, b"
    assert first_of([1, 2, 3], "; ", most=2) == "1; 2; ..."


def test_unknown_names_raise_with_the_nearest():
    reject_unknown(["rate"], ["rate", "width"], "features")
    with pytest.raises(ValueError, match=r"features: unknown 'rat' \(did you mean 'rate'\?\)"):
        reject_unknown(["rat"], ["rate", "width"], "features")
