"""The report says what fits a GPU and what would."""

from pal_plugin.planning.gpus import gpu_gib, needed_gib
from pal_plugin.planning.plan import make_plan
from pal_plugin.planning.report import as_text
from pal_plugin.planning.workload import Workload


def test_the_report_says_what_fits_and_what_would(skeleton):
    plan = make_plan(skeleton("plits", llm="full"), Workload(8, clip_s=1.28, text=200, answer=9))
    needed = [needed_gib(way.memory.total) for way in plan.ways]
    assert needed[1] < needed[0]
    fits = "As configured (one process), it fits h100."
    assert fits in as_text(plan, "h100", gpu_gib("h100"))
    between = sum(needed) / 2
    text = as_text(plan, "a small one", between)
    assert "it does NOT fit a small one. Options that do:" in text
    assert f"- run.activation_checkpointing=true: {needed[1]:.1f} GiB" in text
    clips = plan.largest_batch(plan.ways[0], between)
    assert 0 < clips < 8
    assert f"run.batch_size_train={clips} run.accum_grad_iters={-(-8 // clips)}" in text
    assert "none by batch size" in as_text(plan, "none", 1.0)
