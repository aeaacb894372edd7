"""A step's input without data: how many rows of which length, about which clip."""

import pytest

from pal_plugin.planning.workload import Workload, make_batch
from pal_plugin.utils.errors import ConfigError


def test_a_batch_has_the_shapes_that_were_asked_for(skeleton):
    model = skeleton("pal").model
    batch = make_batch(model, Workload(2, rows_per_clip=3, clip_s=1.28, text=24, answer=8))
    assert batch.ids.shape == batch.mask.shape == (6, 24)
    assert batch.ids.is_meta
    assert batch.samples["clip_index"].tolist() == [0, 0, 0, 1, 1, 1]
    assert set(batch.samples["audio"]) == set(model.encoders)
    for part in batch.samples["audio"].values():
        assert part["windows"].tolist() == [1, 1]
        assert len(part["features"]) == 2
    assert sum(t is batch.ids for t in batch.tensors()) == 1
    one_each = make_batch(model, Workload(2, clip_s=1.28))
    assert "clip_index" not in one_each.samples


def test_a_row_holds_more_than_its_answer_and_nothing_is_below_one():
    assert Workload(4, rows_per_clip=2).rows == 8
    with pytest.raises(ConfigError, match="the answer is part of the text"):
        Workload(2, text=8, answer=8)
    with pytest.raises(ConfigError, match="1 or more, at most 4096 as clips, got 0"):
        Workload(0)
