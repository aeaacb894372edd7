"""Where a run stands: kept as JSON, summed up by epoch."""

import json

import pytest

from pal_plugin.training.progress import EpochStats, Progress


def test_it_comes_back_from_json_as_it_was():
    now = Progress(epoch=1, step=2, global_step=7, order="abc", positions={3: {"place": 4}})
    now.stats.skipped.append("broken.wav")
    again = Progress.from_json(json.loads(json.dumps(now.to_json())))
    assert again == now
    assert list(again.positions) == [3]  # a number again, which JSON's keys are not
    with pytest.raises(TypeError, match="unknown"):
        Progress.from_json({**now.to_json(), "unknown": 1})


def test_an_epoch_begins_with_nothing_and_the_run_goes_on():
    now = Progress(epoch=0, step=5, global_step=5, clips=20, stats=EpochStats(steps=5))
    now.begin_epoch(1)
    assert (now.epoch, now.step, now.global_step, now.clips) == (1, 0, 5, 20)
    assert now.stats == EpochStats()


def test_an_epochs_figures_are_means_and_rates():
    stats = EpochStats(loss_sum=6.0, steps=4, clips=30, audio_s=90.0, seconds=10.0, waited=2.5)
    stats.tokens, stats.text_tokens = 60, 240
    summary = stats.summary()
    assert summary["loss"] == 1.5
    assert (summary["clips_per_s"], summary["audio_s_per_s"]) == (3.0, 9.0)
    assert summary["data_wait"] == 0.25
    sums = ("audio_s", "answer_tokens", "text_tokens")
    assert [summary[name] for name in sums] == [90.0, 60, 240]
    assert EpochStats().summary()["loss"] is None  # nothing was done yet
