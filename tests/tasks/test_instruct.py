"""`pal_instruct` on the toy model: rows in the batch's order, the masked pass, what is refused."""

import pytest

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def setting(toy):
    """Task, model and a batch of three clips with three questions each."""

    def make(*options):
        cfg = toy.config(*options)
        task = InstructTask.setup_task(cfg)
        datasets = task.build_datasets(cfg)["toy_tones"]
        val = iter(datasets["val"])
        clips = [next(val) for _ in range(3)]
        return task, task.build_model(cfg).eval(), datasets["val"].collater(clips)

    return make


def test_every_row_is_answered_in_its_place_with_and_without_audio(setting):
    task, model, batch = setting()
    task.before_evaluation(model=model, dataset=None)
    rows = task.valid_step(model, batch)
    assert [row["id"] for row in rows] == batch["question_id"]
    assert [row["task"] for row in rows] == ["classification", "qa", "caption"] * 3
    assert model.calls.count("encode_audio") == 1
    for row, answer in zip(rows, batch["text_output"], strict=True):
        assert row["reference"] == answer
        assert {"prediction", "prediction_masked"} <= row.keys()
    entries = task.after_evaluation(rows, "val", epoch=0)
    assert entries["agg_metrics"] == entries["classification"]["accuracy"]
    assert entries["classification"]["n"] == 3
    assert task.describe("val").keys() >= {"classification", "qa", "caption"}
    assert task.describe("never evaluated") == {}


def test_the_masked_pass_can_be_left_out(setting):
    task, model, batch = setting("run.masked_audio=false")
    task.before_evaluation(model=model, dataset=None)
    rows = task.valid_step(model, batch)
    assert not any("prediction_masked" in row for row in rows)
    assert task.valid_step(model, {"text_input": [], "skipped": ["x.wav (cut)"]}) == []


def test_a_figure_that_is_not_there_selects_nothing(setting):
    task, model, batch = setting("run.select_by=wer")
    task.before_evaluation(model=model, dataset=None)
    rows = task.valid_step(model, batch)
    with pytest.raises(ConfigError, match="wer"):
        task.after_evaluation(rows, "val", epoch=0)


@pytest.mark.parametrize(
    ("select_by", "told"),
    [("acuracy", "accuracy"), ("classification.f1", "macro_f1"), ("wer_masked", "wer")],
)
def test_a_metric_that_no_task_has_is_told_before_anything_is_loaded(select_by, told):
    with pytest.raises(ConfigError, match=f"run.select_by is '{select_by}'.*{told}"):
        InstructTask(select_by=select_by)


@pytest.mark.parametrize(
    "select_by", ["accuracy_masked_audio", "toy/classification.accuracy_said", "bleu_4", "map"]
)
def test_a_metric_that_some_task_has_may_select(select_by):
    assert InstructTask(select_by=select_by).select_by == select_by


def test_a_dataset_that_cannot_be_built_is_named(toy):
    task = InstructTask()
    with pytest.raises(ConfigError, match=r"datasets\.pal_shards: no shards at .*gone"):
        task.build_datasets(toy.config("datasets.pal_shards={build_info: {shards: {val: gone}}}"))
    with pytest.raises(ConfigError, match="datasets is empty"):
        task.build_datasets(toy.config("datasets.toy_tones=null"))
