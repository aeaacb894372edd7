"""The number of clips that come is compared with the number that is stated."""

from types import SimpleNamespace

import pytest

from pal_plugin.evaluation.completeness import Tally
from pal_plugin.utils.errors import ConfigError


class Stated(SimpleNamespace):
    def __len__(self):
        return self.clips


def batch(clips, unasked=0, skipped=()):
    return {"num_clips": clips, "num_unasked": unasked, "skipped": list(skipped)}


def left_out(dataset, *batches):
    tally = Tally(dataset, "val")
    passed = list(tally.counted(batches))
    assert passed == list(batches)
    return tally.left_out([n for b in batches for n in b.get("skipped", ())], [tally.counts])


def test_all_clips_that_are_stated_came():
    assert left_out(Stated(clips=6), batch(3), batch(2, unasked=1)) == []


def test_fewer_clips_are_an_error_or_are_listed():
    with pytest.raises(ConfigError, match=r"val: expected 9 clips, read 5 and skipped 0"):
        left_out(Stated(clips=9), batch(3), batch(2))
    dataset = Stated(clips=9, allow_missing=True, left_out=["x: no file"])
    found = left_out(dataset, batch(3), batch(2, skipped=["b.wav (broken)"]))
    assert found[:2] == ["x: no file", "b.wav (broken)"]
    assert found[2].startswith("3 more clips")


def test_more_clips_are_an_error():
    for allowed in (False, True):
        with pytest.raises(ConfigError, match="expected 2 clips, read 3: is a shard"):
            left_out(Stated(clips=2, allow_missing=allowed), batch(3))
    # A broken entry that no index counts.
    dataset = Stated(clips=2, allow_missing=True)
    assert left_out(dataset, batch(2, skipped=["odd (no json)"])) == ["odd (no json)"]


def test_datasets_that_state_nothing_are_believed():
    assert left_out(object(), batch(3)) == []
    assert left_out(Stated(clips=9), {"text_input": ["a"]}) == []
