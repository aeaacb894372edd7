"""What a run keeps: whole weights, and which epoch was the best."""

import math

import pytest

from pal_plugin.training.state import Best

from .test_run import make_run


def test_an_interrupted_checkpoint_leaves_the_previous_one(toy, monkeypatch):
    run = make_run(toy.config())
    path = run.state.save_weights(0)
    before = path.read_bytes()
    save = run.place.model.save_checkpoint

    def broken(target, **meta):
        save(target, **meta)
        raise OSError("no space left on device")

    monkeypatch.setattr(run.place.model, "save_checkpoint", broken)
    with pytest.raises(OSError, match="no space"):
        run.state.save_weights(1)
    assert path.read_bytes() == before
    assert not list(run.folder.path.glob(".writing*"))


def test_the_best_epoch_is_the_first_of_the_largest_figure():
    best = Best()
    found = [best.improved(epoch, figure) for epoch, figure in enumerate((-3.0, -1.0, -1.0, -2.0))]
    assert found == [True, True, False, False]
    assert best == Best(1, -1.0)


def test_a_figure_that_is_no_number_is_kept_only_while_there_is_no_other():
    best = Best()
    assert best.improved(0, math.nan)
    assert not best.improved(1, math.nan)
    assert best.improved(2, -5.0)
    assert best == Best(2, -5.0)
