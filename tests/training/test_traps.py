"""Traps of LAVIS's runners, each by its name, and what happens here.

The others are tested beside their modules: the process group (`test_distributed`), the wait at
a start (`test_processes`), lengths of streams (`test_loaders`).
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training.run_folder import new_run_dir
from pal_plugin.utils.errors import ConfigError

from .test_run import make_run


class FixedMetrics(InstructTask):
    """Validates with given numbers instead of real ones."""

    values = ()

    def after_evaluation(self, val_result, split_name, epoch=None, **kwargs):
        value = self.values[epoch]
        return {"classification": {"accuracy": torch.tensor(value), "n": 1}, "agg_metrics": value}


def gradients(toy, monkeypatch, *options):
    """Gradients that the optimizer sees at its steps, with the model left as it is."""
    cfg = toy.config("run.init_lr=0", "run.min_lr=0", "run.grad_clip=null", *options)
    run = make_run(cfg)
    seen = []
    step = run.training.optimizer.step
    monkeypatch.setattr(
        run.training.optimizer,
        "step",
        lambda: (seen.append(run.place.model.head.weight.grad.clone()), step()),
    )
    run.train_epoch(0)
    return seen


def test_trap_runner_model_is_none_when_the_model_is_on_its_device(toy):
    assert make_run(toy.config("run.device=cpu")).place.model is not None


def test_trap_negative_metrics_never_save_a_checkpoint_and_the_best_is_not_reloaded(toy):
    task = type("Negative", (FixedMetrics,), {"values": (-3.0, -1.0, -2.0)})
    run = make_run(toy.config("run.max_epoch=3"), task)
    run.train()
    assert run.best.epoch == 1
    best = load_file(run.folder.path / "checkpoint_best.safetensors")
    last = load_file(run.folder.path / "checkpoint_last.safetensors")
    assert not torch.equal(best["head.weight"], last["head.weight"])
    assert torch.equal(run.place.model.head.weight, best["head.weight"])  # reloaded at the end
    facts = json.loads((run.folder.path / "checkpoint_best.json").read_text())
    assert facts["epoch"] == 1
    assert facts["recipe"] == "toy_recipe"
    assert "frozen" not in best
    metrics = json.loads((run.folder.path / "metrics.json").read_text())
    assert metrics["val"]["classification"]["accuracy"] == -1.0  # of the best epoch, a tensor


def test_trap_a_split_in_train_and_valid_evaluates_forever(toy):
    with pytest.raises(ConfigError, match="trained on and evaluated"):
        make_run(toy.config("run.valid_splits=[train]"))
    with pytest.raises(ConfigError, match="built for training"):
        make_run(toy.config("run.evaluate=true", "run.valid_splits=[train]"))


def test_trap_dataset_ratios_raise_and_chained_pipelines_starve(toy):
    cfg = toy.config(
        f"datasets.more={{builder: toy_tones, build_info: {{storage: '{toy.shards}'}}}}",
        "run.train_dataset_ratios={toy_tones: 1, more: 3}",
    )
    metrics = make_run(cfg).train()
    assert {"toy_tones/classification", "more/classification"} <= set(metrics["val"])


def test_trap_the_accumulated_loss_is_not_divided(toy, monkeypatch):
    one = gradients(toy, monkeypatch, "run.steps_per_epoch=4")
    assert len(one) == 4
    two = gradients(toy, monkeypatch, "run.steps_per_epoch=2", "run.accum_grad_iters=2")
    assert len(two) == 2
    torch.testing.assert_close(two[0], (one[0] + one[1]) / 2)
    torch.testing.assert_close(two[1], (one[2] + one[3]) / 2)


def test_trap_amp_is_silently_float32_on_the_cpu(toy):
    class SeesType(InstructTask):
        types = set()  # noqa: RUF012

        def train_step(self, model, samples):
            self.types.add(torch.nn.functional.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype)
            return super().train_step(model, samples)

    make_run(toy.config("run.device=cpu", "run.amp=bf16"), SeesType).train()
    assert SeesType.types == {torch.bfloat16}
    with pytest.raises(ConfigError, match="bf16"):
        make_run(toy.config("run.device=cpu", "run.amp=fp16")).train()


def test_trap_prefetching_makes_a_cuda_stream_and_evaluation_calls_cuda(toy, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("CUDA was asked for")

    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    monkeypatch.setattr(torch.Tensor, "cuda", refuse)
    monkeypatch.setattr(torch.nn.Module, "cuda", refuse)
    make_run(toy.config("run.device=cpu", "run.max_epoch=1")).train()


def test_trap_a_barrier_without_a_process_group(toy, monkeypatch):
    monkeypatch.setattr(
        torch.distributed, "barrier", lambda *a, **k: pytest.fail("nobody to wait for")
    )
    make_run(toy.config("run.max_epoch=1")).train()


def test_trap_a_stream_has_no_len(toy, monkeypatch):
    from pal_plugin.datasets.webdataset import ShardStream

    monkeypatch.setattr(ShardStream, "__len__", lambda self: (_ for _ in ()).throw(TypeError()))
    with pytest.raises(ConfigError, match=r"run\.steps_per_epoch=500"):
        make_run(toy.config()).train()
    run = make_run(toy.config("run.steps_per_epoch=2", "run.max_epoch=1"))
    assert run.train()["val"]["classification"]["n"] == 8


def test_trap_the_webdataset_loader_ignores_the_collater(toy, monkeypatch):
    from pal_plugin.datasets.webdataset import ShardStream

    called = []
    collater = ShardStream.collater
    monkeypatch.setattr(
        ShardStream, "collater", lambda self, c: (called.append(self.train), collater(self, c))[1]
    )
    make_run(toy.config("run.max_epoch=1")).train()
    assert {True, False} == set(called)


def test_trap_a_finite_webdataset_raises_stop_iteration(toy):
    run = make_run(toy.config("run.steps_per_epoch=20", "run.max_epoch=1"))  # 12 clips
    assert run.train_epoch(0)["steps"] == 20


def test_trap_now_drops_a_digit_so_runs_share_a_folder(tmp_path):
    folders = {new_run_dir(tmp_path, "recipe") for _ in range(12)}
    assert len(folders) == 12


def test_trap_resume_is_strict_although_frozen_weights_are_not_saved(toy):
    first = make_run(toy.config("run.max_epoch=1"))
    first.train()
    cfg = toy.config("run.max_epoch=1", "run.resume=auto")
    again = make_run(cfg, job_id=first.folder.path.name)
    assert torch.equal(again.place.model.head.weight, first.place.model.head.weight)
    assert "frozen" not in load_file(again.folder.resumed[0] / "model.safetensors")


def test_trap_resume_is_one_epoch_off(toy, monkeypatch):
    """The state behind the second of three epochs: only the third is trained."""
    first = make_run(toy.config("run.max_epoch=3", "run.keep_checkpoints=9"))
    whole = first.train()
    last = max((first.folder.path / "checkpoints").iterdir())
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    again = make_run(
        toy.config("run.max_epoch=3", "run.resume=auto"), job_id=first.folder.path.name
    )
    trained = []
    train_epoch = again.train_epoch
    monkeypatch.setattr(again, "train_epoch", lambda e: (trained.append(e), train_epoch(e))[1])
    assert again.train() == whole
    assert trained == [2]


def test_trap_a_metric_that_is_no_number_is_the_best_for_ever(toy):
    task = type("Nan", (FixedMetrics,), {"values": (float("nan"), 0.2, 0.1)})
    run = make_run(toy.config("run.max_epoch=3"), task)
    run.train()
    assert run.best.epoch == 1
    assert run.best.metric == 0.2


def test_trap_tensors_in_metrics_break_the_json_log(toy):
    class Tensors(InstructTask):
        def after_evaluation(self, val_result, split_name, epoch=None, **kwargs):
            return {"x": {"accuracy": torch.tensor([0.5, 1.0])}, "agg_metrics": torch.tensor(0.5)}

    run = make_run(toy.config("run.max_epoch=1"), Tensors)
    run.train()
    lines = map(json.loads, (run.folder.path / "log.txt").read_text().splitlines())
    assert next(x for x in lines if x["kind"] == "val")["x"] == {"accuracy": [0.5, 1.0]}
