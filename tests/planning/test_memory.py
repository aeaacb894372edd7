"""From counts to GiB: what is sharded, what stays, and what to change where it does not fit."""

import pytest
from sizes import bytes_of

from pal_plugin.planning.gpus import GIB, gpu_gib, needed_gib
from pal_plugin.planning.memory import DDP, FSDP, memory_of
from pal_plugin.planning.plan import make_plan
from pal_plugin.planning.report import as_text
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import ConfigError

WORK = Workload(2, clip_s=1.28, text=24, answer=8)


@pytest.fixture
def skeleton(tiny_config):
    return lambda kind="pal", **stage: build_skeleton(tiny_config(kind, **stage))


def test_one_process_keeps_weights_and_two_states_per_trained_number(skeleton):
    model = skeleton(llm="full").model
    memory = memory_of(model, count_step(model, WORK), DDP, 1)
    assert memory.weights == bytes_of(model)
    assert memory.optimizer == 2 * bytes_of(model, trained=True)
    assert memory.gathered == 0
    assert memory.total == sum(vars(memory).values())


def test_ddp_keeps_gradients_and_fsdp_shares_the_layers(skeleton):
    model = skeleton(llm="full").model
    count, trained = count_step(model, WORK), bytes_of(model, trained=True)
    alone, ddp, fsdp = (memory_of(model, count, s, w) for s, w in ((DDP, 1), (DDP, 4), (FSDP, 4)))
    assert ddp.gradients == trained
    assert alone.total <= ddp.total <= alone.total + trained
    layers = list(model.decoder.layers)
    whole = bytes_of(layers[0])  # all of it is trained, and no buffer is in it
    assert ddp.weights - fsdp.weights == len(layers) * whole * 3 / 4
    assert ddp.optimizer - fsdp.optimizer == 2 * len(layers) * whole * 3 / 4
    assert ddp.gradients - fsdp.gradients == len(layers) * whole * 3 / 4
    assert fsdp.gathered == 2 * whole + whole  # two layers, and the gradients of one
    assert memory_of(model, count, FSDP, 1).total == alone.total


def test_accumulated_gradients_stay_and_a_large_optimizer_step_is_the_peak(skeleton):
    model = skeleton(llm="full").model
    count, trained = count_step(model, WORK), bytes_of(model, trained=True)
    once, several = (memory_of(model, count, DDP, 1, n) for n in (1, 8))
    assert several.gradients == trained
    assert once.total <= several.total <= once.total + trained
    small = Workload(1, clip_s=1.28, text=3, answer=1)
    model = skeleton(encoders="full", llm="full").model
    memory = memory_of(model, count_step(model, small), DDP, 1)
    assert memory.total >= 4 * bytes_of(model, trained=True)


def test_the_report_says_what_fits_and_what_would(skeleton):
    plan = make_plan(skeleton("plits", llm="full"), Workload(8, clip_s=1.28, text=200, answer=9))
    needed = [needed_gib(way.memory.total) for way in plan.ways]
    assert needed[1] < needed[0]
    fits = "As the run file has it (one process), it fits h100."
    assert fits in as_text(plan, "h100", gpu_gib("h100"))
    between = sum(needed) / 2
    text = as_text(plan, "a small one", between)
    assert "it does NOT fit a small one. What would:" in text
    assert f"- run.activation_checkpointing=true: {needed[1]:.1f} GiB" in text
    clips = plan.largest_batch(plan.ways[0], between)
    assert 0 < clips < 8
    assert f"run.batch_size_train={clips} run.accum_grad_iters={-(-8 // clips)}" in text
    assert "nothing by batch size" in as_text(plan, "none", 1.0)


@pytest.mark.slow
def test_the_largest_batch_fits_and_one_more_does_not(skeleton):
    made = skeleton(llm="lora")
    plan = make_plan(made, Workload(4, clip_s=1.28))
    gpu = needed_gib(plan.ways[0].memory.total) + 0.1 * plan.ways[0].memory.per_batch / GIB
    clips = plan.largest_batch(plan.ways[0], gpu)
    for batch, fits in ((clips, True), (clips + 1, False)):
        count = count_step(made.model, Workload(batch, clip_s=1.28))
        assert (needed_gib(memory_of(made.model, count, DDP, 1).total) <= gpu) == fits


def test_tokens_go_by_their_routes(skeleton):
    plan = make_plan(skeleton("pal"), WORK)
    assert plan.tokens() == {"plits": 8, "lal": 20, "text": 24}
    two_windows = make_plan(skeleton("plits"), Workload(2, clip_s=2.0))
    assert two_windows.tokens() == {"plits": 56, "text": 128}


def test_questions_about_one_clip_share_its_encoding(skeleton):
    made = skeleton("lal")
    one, four = (make_plan(made, Workload(2, rows_per_clip=n, clip_s=1.28)) for n in (1, 4))
    of_encoders = [
        sum(v for k, v in p.counts[False].forward.items() if k.startswith("encoders"))
        for p in (one, four)
    ]
    assert of_encoders[0] == of_encoders[1]
    assert four.flops_per_sample() < one.flops_per_sample()
    assert four.samples_per_step == 4 * one.samples_per_step


def test_errors(skeleton, tiny_config):
    with pytest.raises(ConfigError, match=r"--gpu is 'h900'; expected h100, .* or a number of GiB"):
        gpu_gib("h900")
    with pytest.raises(ConfigError, match="nothing is trainable"):
        make_plan(skeleton(connectors="frozen"), WORK)
    with pytest.raises(ConfigError, match="run.amp is 'fp8'"):
        make_plan(skeleton(), WORK, amp="fp8")
    with pytest.raises(ConfigError, match="run.parallel is 'tp'; expected ddp, fsdp"):
        make_plan(skeleton(), WORK, parallel="tp")
    with pytest.raises(ConfigError, match="--world-size is 0"):
        make_plan(skeleton(), WORK, world_size=0)
    with pytest.raises(ConfigError, match="the answer is part of the text"):
        Workload(2, text=8, answer=8)
    with pytest.raises(ConfigError, match="numbers above 0, got clips=0"):
        Workload(0)
    cfg = tiny_config("lal")
    cfg["llm"] = {**cfg["llm"], "quantize": "4bit"}
    with pytest.raises(ConfigError, match=r"model\.llm\.quantize=null"):
        build_skeleton(cfg)
