"""A plan: tokens by route, questions about one clip, the largest batch, what cannot be planned."""

import pytest

from pal_plugin.planning.gpus import GIB, needed_gib
from pal_plugin.planning.memory import DDP, memory_of
from pal_plugin.planning.plan import make_plan
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import ConfigError

WORK = Workload(2, clip_s=1.28, text=24, answer=8)


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


@pytest.mark.slow
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


def test_what_cannot_be_planned(skeleton):
    with pytest.raises(ConfigError, match="no parameter is trainable"):
        make_plan(skeleton(connectors="frozen"), WORK)
    with pytest.raises(ConfigError, match="run.amp is 'fp8'"):
        make_plan(skeleton(), WORK, amp="fp8")
    with pytest.raises(ConfigError, match="run.parallel is 'tp'; expected ddp, fsdp"):
        make_plan(skeleton(), WORK, parallel="tp")
    with pytest.raises(ConfigError, match="--world-size is 0"):
        make_plan(skeleton(), WORK, world_size=0)
