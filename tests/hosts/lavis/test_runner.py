"""RunnerPal as LAVIS drives it: its registry, its setup_task, its schedules, its paths."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toys import ToyListener

import pal_plugin  # noqa: F401 - before lavis
from pal_plugin.config.registry import MODELS
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training.run import Run
from pal_plugin.utils.errors import ConfigError

# isort: split
from lavis.common.registry import registry
from lavis.tasks import setup_task


def make_runner(cfg, job_id=None):
    torch.manual_seed(0)
    task = setup_task(cfg)
    # The toy model is the core's only, so the task's own way by LAVIS's registry does not find it.
    model = MODELS.get(cfg.model_cfg.arch).from_config(cfg.model_cfg)
    runner = registry.get_runner_class(cfg.run_cfg.runner)
    return runner(cfg=cfg, job_id=job_id, task=task, model=model, datasets=task.build_datasets(cfg))


def test_it_trains_and_evaluates_as_the_core_does(toy):
    cfg = toy.config("run.max_epoch=1")
    metrics = make_runner(cfg, "lavis").train()
    torch.manual_seed(0)
    task = InstructTask.setup_task(cfg)
    model = MODELS.get(cfg.model_cfg.arch).from_config(cfg.model_cfg)
    assert Run(cfg, task, model, task.build_datasets(cfg), "core").train() == metrics
    first, second = (
        (toy.folder / "output" / name / "checkpoint_best.safetensors").read_bytes()
        for name in ("lavis", "core")
    )
    assert first == second


def test_epochs_one_by_one(toy):
    runner = make_runner(toy.config())
    assert set(runner.dataloaders) == {"train", "val"}
    assert runner.train_epoch(0)["steps"] == 3
    assert "agg_metrics" in runner.eval_epoch("val", 0)
    assert runner.optimizer.param_groups[0]["lr"] > 0
    assert (runner.device.type, runner.max_epoch, runner.evaluate_only) == ("cpu", 2, False)


def test_lavis_own_config_is_refused(toy):
    with pytest.raises(TypeError, match="expected a RunConfig"):
        registry.get_runner_class("runner_pal")(SimpleNamespace(), None, None, {})


def test_lavis_schedules_still_work(toy):
    runner = make_runner(toy.config("run.lr_sched=linear_warmup_cosine_lr"))
    runner.train()
    assert runner.run.best.epoch is not None


def test_lavis_schedules_take_gains_at_the_rate_of_the_rest(toy, monkeypatch):
    def groups(model, decay):
        return [
            {"name": name, "params": list(part.parameters()), "weight_decay": decay}
            for name, part in (("connectors", model.embed), ("gains", model.head))
        ]

    monkeypatch.setattr(ToyListener, "param_groups", groups, raising=False)
    runner = make_runner(toy.config("run.lr_sched=linear_warmup_cosine_lr"))
    runner.train()
    rest, gains = runner.run.training.optimizer.param_groups
    assert rest["lr"] == gains["lr"]


def test_lavis_schedules_know_one_rate_only(toy, monkeypatch):
    def groups(model, decay):
        return [{"name": "connectors", "params": list(model.parameters()), "weight_decay": decay}]

    monkeypatch.setattr(ToyListener, "param_groups", groups, raising=False)
    cfg = toy.config("run.lr_sched=linear_warmup_cosine_lr", "run.lr_scale.connectors=0.5")
    with pytest.raises(ConfigError, match="sets one learning rate"):
        make_runner(cfg)


def test_trap_a_second_runner_in_one_process_raises_and_output_dir_lands_in_site_packages(toy):
    first, second = make_runner(toy.config()), make_runner(toy.config())
    assert first.output_dir != second.output_dir
    assert registry.get_path("output_dir") == str(second.output_dir)
    assert second.output_dir.parent == Path(os.getcwd()) / "output"  # not in site-packages


def test_a_dataset_of_lavis_registry_is_trained_on(toy, monkeypatch):
    from lavis.datasets.builders.base_dataset_builder import BaseDatasetBuilder
    from toys import ToyTonesBuilder

    mapping = dict(registry.mapping["builder_name_mapping"])
    monkeypatch.setitem(registry.mapping, "builder_name_mapping", mapping)
    registry.register_builder("lavis_tones")(
        type("LavisTones", (ToyTonesBuilder, BaseDatasetBuilder), {})
    )
    section = f"datasets.lavis_tones={{build_info: {{storage: '{toy.shards}'}}}}"
    cfg = toy.config(section, "datasets.toy_tones=null", "run.max_epoch=1")
    assert set(cfg.datasets_cfg) == {"lavis_tones"}
    assert make_runner(cfg).train()["val"]["classification"]["n"] == 8


@pytest.mark.slow
def test_the_core_finds_a_host_only_where_a_name_is_unknown():
    program = (
        "import sys; from pal_plugin.config.registry import SCHEDULES, Registry\n"
        "Registry.host = 'pal_plugin.hosts.lavis'\n"
        "assert 'pal_warmup_cosine' in SCHEDULES and 'lavis' not in sys.modules\n"
        "assert 'linear_warmup_cosine_lr' in SCHEDULES and 'lavis' in sys.modules\n"
        "assert 'linear_warmup_cosine' not in SCHEDULES\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
