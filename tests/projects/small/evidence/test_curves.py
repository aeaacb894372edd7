"""The mean of the seeds at the steps that all of them have."""

import pytest


@pytest.fixture
def runs(module, tmp_path, five_runs):
    planned = module("evidence.planned").plan(tmp_path / "runs", kept=tmp_path / "kept")
    return module("evidence.answers").read_finished(planned)


def test_mean_and_spread_over_seeds(module, runs):
    steps, mean, spread = module("evidence.curves").band(runs["plits"])
    assert steps == [50, 100]
    assert mean.tolist() == [3.0, 2.0]  # of 4 and 2, and of 2 and 2
    assert spread.tolist() == pytest.approx([2**0.5, 0.0])
    assert module("evidence.curves").band(runs["flamingo"])[2].tolist() == [0.0, 0.0]


def test_the_picture(module, runs, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "figures" / "curves.png"
    module("evidence.curves").draw(runs, path)
    assert path.read_bytes().startswith(b"\x89PNG")
