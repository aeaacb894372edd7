"""The newest run of a recipe is found, and the checkpoint of a location."""

import logging
import os
import time

import pytest

from pal_plugin.config.trained import BEST, FINISHED, LAST, latest_run, resolve_checkpoint
from pal_plugin.utils.errors import ConfigError


def trained(root, name, recipe, age_s=0, files=(BEST,)):
    run = root / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(f"run: {{name: {recipe}}}\n")
    for file in files:
        (run / file).write_bytes(b"weights")
        os.utime(run / file, (time.time() - age_s,) * 2)
    return run


def test_the_newest_run_with_a_best_checkpoint_is_the_latest(tmp_path):
    trained(tmp_path, "a", "lal_stage1", age_s=100)
    newest = trained(tmp_path, "any-name", "lal_stage1", age_s=10)
    trained(tmp_path, "unfinished", "lal_stage1", files=(LAST,))
    trained(tmp_path, "lal_stage1-of-something-else", "pal_stage1")
    assert latest_run("lal_stage1", tmp_path) == newest
    assert resolve_checkpoint("latest:lal_stage1", tmp_path) == newest / BEST


def test_a_finished_run_comes_before_one_that_still_goes_or_was_interrupted(tmp_path, caplog):
    whole = trained(tmp_path, "whole", "r", age_s=100, files=(BEST, FINISHED))
    going = trained(tmp_path, "going", "r", age_s=10)
    assert latest_run("r", tmp_path) == whole
    assert "is finished" not in caplog.text
    (whole / FINISHED).unlink()
    assert latest_run("r", tmp_path) == going
    assert f"latest:r is {going} (" in caplog.text
    assert "no run of this recipe is finished" in caplog.text


def test_a_trial_of_few_steps_does_not_take_the_place_of_a_training(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    steps = {"long": 1000, "shorter": 100, "trial": 1}
    for age, (name, count) in zip((300, 200, 100), steps.items(), strict=True):
        run = trained(tmp_path, name, "r", age_s=age, files=(BEST, FINISHED))
        (run / FINISHED).write_text(f'{{"steps": {count}}}')
    assert latest_run("r", tmp_path).name == "shorter"
    assert "newer, but a trial of few steps: trial" in caplog.text
    (tmp_path / "trial" / FINISHED).write_text('{"evaluated": []}')  # of an older version
    assert latest_run("r", tmp_path).name == "trial"


def test_no_run_says_how_to_train_one_and_what_there_is(tmp_path):
    trained(tmp_path, "half", "lal_stage1", files=())
    trained(tmp_path, "other", "pal_stage1")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.yaml").write_text("[not, ours")
    with pytest.raises(ConfigError) as error:
        latest_run("lal_stage1", tmp_path)
    text = str(error.value)
    assert "Train one with: pal train lal_stage1" in text
    assert "half" in text
    assert "pal_stage1" in text


def test_a_checkpoint_is_a_run_a_file_or_an_error(tmp_path):
    run = trained(tmp_path, "run", "r", files=(LAST,))
    assert resolve_checkpoint(str(run), "unused") == run / LAST
    assert resolve_checkpoint(str(run / LAST), "unused") == run / LAST
    with pytest.raises(ConfigError, match=r"latest:RECIPE"):
        resolve_checkpoint(str(tmp_path / "gone.safetensors"), "unused")
    with pytest.raises(ConfigError, match="neither"):
        resolve_checkpoint(str(tmp_path), "unused")


def test_what_the_newest_run_is_is_told_by_date_steps_and_score(tmp_path, caplog):
    run = trained(tmp_path, "run", "r", files=(BEST, FINISHED))
    os.utime(run / BEST, (time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1)),) * 2)
    caplog.set_level(logging.INFO)
    facts = run / BEST.replace(".safetensors", ".json")
    for content, told in (
        ('{"step": 1, "score": {"accuracy": 0.5}}', "(2026-01-02 03:04, 1 step, accuracy 0.5000)"),
        ('{"step": 240, "score": {}}', "(2026-01-02 03:04, 240 steps, no score)"),
        ("not JSON", "(2026-01-02 03:04, unknown steps, no score)"),
    ):
        facts.write_text(content)
        latest_run("r", tmp_path)
        assert told in caplog.messages[-1]
