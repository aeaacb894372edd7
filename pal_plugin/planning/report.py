"""Format a plan as text."""

from __future__ import annotations

from pal_plugin.planning.gpus import CONTEXT_GIB, FRAGMENTATION, GIB, needed_gib
from pal_plugin.planning.plan import Plan
from pal_plugin.utils.tables import text_table

_PARTS = {
    "weights": "weights",
    "gathered": "gathered layers",
    "optimizer": "optimizer states",
    "gradients": "gradients",
    "activations": "activations",
    "logits": "logits and loss",
    "working": "working memory",
}
_ROUTES = {
    "plits": "PLITS, prepended",
    "lal": "LAL, keys and values",
    "flamingo": "cross attention",
    "text": "text",
}


def as_text(plan: Plan, gpu_name: str, gpu: float) -> str:
    """Tables of parameters, tokens, FLOPs and memory, and advice if the run does not fit.

    Args:
        plan: to format.
        gpu_name: for the text.
        gpu: its memory in GiB.
    """
    return "\n\n".join(
        [
            _head(plan),
            _parameters(plan),
            _tokens(plan),
            _flops(plan),
            _memory(plan, gpu_name, gpu),
            _advice(plan, gpu_name, gpu),
        ]
    )


def _head(plan: Plan) -> str:
    work = plan.work
    lines = [
        f"{plan.world_size} x {work.clips} clips of {work.clip_s:g} s, {work.rows_per_clip} "
        f"question(s) each, {work.accumulate} micro-batch(es): {plan.samples_per_step} samples "
        "per optimizer step",
        f"assumed: {work.text} text tokens, {work.answer} of them answer; no padding",
    ]
    lines += [f"sizes of {name}: {source}" for name, source in plan.sources.items()]
    return "\n".join(lines)


def _parameters(plan: Plan) -> str:
    rows = [[name, f"{t:,}", f"{f:,}"] for name, (t, f) in plan.parameters.items()]
    total = [sum(column) for column in zip(*plan.parameters.values(), strict=True)]
    rows.append(["total", *(f"{n:,}" for n in total)])
    return text_table([["parameters", "trainable", "frozen"], *rows], "lr")


def _tokens(plan: Plan) -> str:
    rows = [[_ROUTES[route], f"{count}"] for route, count in plan.tokens().items()]
    for group, ways in plan.routes.items():
        for way in ways:
            if way.layers is not None:
                layers = ",".join(map(str, way.layers))
                rows.append([f"  {group} by {way.integration} in layers", layers])
    return text_table([["tokens per sample", ""], *rows], "lr")


def _flops(plan: Plan) -> str:
    plain, again = plan.counts[False], plan.counts[True]
    rows = [[f"forward, {name}", f"{n / 1e12:.3f}", ""] for name, n in plain.forward.items()]
    rows.append(["backward", f"{plain.backward / 1e12:.3f}", f"{again.backward / 1e12:.3f}"])
    times = plan.work.accumulate
    totals = [count.flops * times / 1e12 for count in (plain, again)]
    rows.append(["a step of one GPU", *(f"{t:.3f}" for t in totals)])
    rows.append(["a step of all GPUs", *(f"{t * plan.world_size:.3f}" for t in totals)])
    rows.append(["a sample", *(f"{plan.flops_per_sample(c) / 1e12:.3f}" for c in (False, True))])
    return text_table([["TFLOP", "", "checkpointing"], *rows], "lr")


def _memory(plan: Plan, gpu_name: str, gpu: float) -> str:
    parts = [vars(way.memory) for way in plan.ways]
    rows = [
        [label, *(f"{of[key] / GIB:.2f}" for of in parts)]
        for key, label in _PARTS.items()
        if any(of[key] for of in parts)
    ]
    rows.append(["tensors at most", *(f"{w.memory.total / GIB:.2f}" for w in plan.ways)])
    needed = [needed_gib(way.memory.total) for way in plan.ways]
    rows.append(["needed", *(f"{n:.2f}" for n in needed)])
    rows.append([f"fits {gpu_name} ({gpu:g} GiB)", *("yes" if n <= gpu else "NO" for n in needed)])
    rows.append(["largest batch, clips", *(f"{plan.largest_batch(w, gpu)}" for w in plan.ways)])
    table = text_table([["GiB per GPU", *(way.name for way in plan.ways)], *rows], "lr")
    return (
        f"{table}\n(needed: assumes {CONTEXT_GIB} GiB for CUDA and NCCL, and {FRAGMENTATION:.0%} "
        "fragmentation)"
    )


def _advice(plan: Plan, gpu_name: str, gpu: float) -> str:
    if needed_gib(plan.chosen.memory.total) <= gpu:
        return f"As configured ({plan.chosen.name}), it fits {gpu_name}."
    lines = [f"As configured ({plan.chosen.name}), it does NOT fit {gpu_name}. Options that do:"]
    for way in plan.ways:
        clips = plan.largest_batch(way, gpu)
        if clips >= plan.work.clips:
            lines.append(f"- {way.options}: {needed_gib(way.memory.total):.1f} GiB")
        elif clips > 0:
            batches = -(-plan.work.clips * plan.work.accumulate // clips)
            lines.append(
                f"- {way.options} run.batch_size_train={clips} run.accum_grad_iters={batches}"
            )
    if len(lines) == 1:
        lines.append(
            "- none by batch size, checkpointing or sharding alone: use more GPUs with "
            "run.parallel=fsdp, model.llm.dtype=bfloat16, LoRA instead of full training, or a "
            "smaller LLM"
        )
    return "\n".join(lines)
