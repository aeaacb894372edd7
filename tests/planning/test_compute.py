"""Compute of a step and an answer: the figures of the plan, by part."""

import pytest

from pal_plugin.planning import compute
from pal_plugin.planning.compute import compute_of
from pal_plugin.planning.plan import plan_of
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.step import count_flops
from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import ConfigError

WORK = Workload(2, 2, clip_s=1.28, text=24, answer=8, accumulate=3)
RUN = {
    "name": "tiny",
    "batch_size_train": 2,
    "accum_grad_iters": 3,
    "amp": "none",
    "parallel": "ddp",
    "activation_checkpointing": False,
}


@pytest.fixture
def cfg(tiny_config):
    datasets = {"clips": {"items_per_clip": 2}}
    return {"model": tiny_config("pal", llm="lora"), "datasets": datasets, "run": RUN}


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_is_that_of_the_plan(cfg, checkpointing):
    cfg["run"] = {**RUN, "activation_checkpointing": checkpointing}
    plan = plan_of(cfg, 1, 1.28, 24, 8)
    assert plan.work == WORK
    expected = plan.counts[checkpointing]
    found = compute_of(cfg, WORK)
    assert found.step == 3 * expected.flops
    assert found.backward == 3 * expected.backward


def test_the_parts_are_those_of_a_count(cfg):
    forward, backward = count_flops(build_skeleton(cfg["model"]).model, WORK)
    found = compute_of(cfg, WORK)
    assert found.backward == 3 * backward
    assert found.forward["LLM"] == 3 * forward["llm"]
    for part in ("encoders", "connectors"):
        of_part = (n for name, n in forward.items() if name.startswith(part))
        assert found.forward[part] == 3 * sum(of_part)


@pytest.mark.slow
def test_an_answer_is_the_forward_pass_of_one_clip(cfg):
    alone = {**RUN, "batch_size_train": 1, "accum_grad_iters": 1}
    one = plan_of({**cfg, "datasets": {}, "run": alone}, 1, 1.28, 24, 8)
    found = compute_of(cfg, WORK, trains=False)
    assert (found.forward, found.backward, found.step) == (None, 0, 0)
    assert sum(found.answer.values()) == sum(one.counts[False].forward.values())
    assert all(found.answer.values())


def test_the_same_settings_are_counted_once(cfg, monkeypatch):
    work = WORK
    first = compute_of(cfg, work)
    monkeypatch.setattr(compute, "build_skeleton", None)
    assert compute_of(cfg, work) is first


def test_a_stage_that_aligns_has_no_answer(cfg, tiny_config):
    work = WORK
    found = compute_of({**cfg, "model": tiny_config("pal", aligns="speech")}, work)
    assert found.answer is None
    assert found.step > 0


def test_what_cannot_be_planned_is_an_error(cfg):
    llm = {**cfg["model"]["llm"], "quantize": "4bit"}
    work = WORK
    with pytest.raises(ConfigError, match="quantized"):
        compute_of({**cfg, "model": {**cfg["model"], "llm": llm}}, work)
