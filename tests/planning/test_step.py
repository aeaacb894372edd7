"""The step of a small model against the same model with weights, really run on the CPU."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pal_plugin.planning.counting import LiveBytes, SavedBytes
from pal_plugin.planning.meta import FUSED, FUSED_BACKWARD
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload

from .conftest import CASES

QUESTION, ANSWER = "What do you hear in this clip, and what comes first?", "a bell, then rain"
OF_ENCODERS = {
    FUSED: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    FUSED_BACKWARD: lambda g, q, k, v, *_, **__: 2 * sdpa_flop_count(q, k, v),
}
#: A real step each takes seconds: by default that of both routes, by LoRA.
STEPS = [
    case if case == ("pal", "lora") else pytest.param(*case, marks=pytest.mark.slow)
    for case in CASES
]


def samples(rows):
    """Clips of exactly one window, which every front end fills."""
    generator = torch.Generator().manual_seed(0)
    clips = [0.1 * torch.randn(20_480, generator=generator).numpy() for _ in range(rows)]
    return {
        "audio": [(clip, 16_000) for clip in clips],
        "text_input": [QUESTION] * rows,
        "text_output": [ANSWER] * rows,
    }


def workload(model, rows=3):
    prompt, answer = model.text.prompt_ids(QUESTION), model.text.answer_ids(ANSWER)
    return Workload(rows, clip_s=1.28, text=len(prompt) + len(answer), answer=len(answer))


@pytest.mark.parametrize(("kind", "stage"), STEPS)
def test_flops_are_those_of_a_real_step(pair, kind, stage):
    """With eager attention in the LLM: plain products, which torch's counter knows by itself."""
    model, _ = pair(kind, stage, attn_implementation="eager")
    _, skeleton = pair(kind, stage)
    given = samples(3)
    given["audio"] = [model.frontend(clip) for clip in given["audio"]]  # the data workers' part
    with FlopCounterMode(display=False, custom_mapping=OF_ENCODERS) as counter:
        loss = model(given)["loss"]
        forward = counter.get_total_flops()
        loss.backward()
    work = workload(model)
    count = count_step(skeleton.model, work)
    # Eager computes the scores above the diagonal and throws them away.
    length, heads = work.text + 8 * (kind == "pal") + 28 * (kind == "plits"), model.llm.config
    masked = 0 if kind in ("lal", "pal") else 3 * length * (length - 1) // 2
    masked *= 4 * heads.num_hidden_layers * heads.num_attention_heads * heads.head_dim
    assert sum(count.forward.values()) == pytest.approx(forward - masked, rel=0.02)
    assert count.flops == pytest.approx(counter.get_total_flops() - 3 * masked, rel=0.05)


def test_a_connector_that_is_aligned_costs_no_llm(pair):
    model, skeleton = pair("pal", "aligns")
    given = samples(3)
    given["audio"] = [model.frontend(clip) for clip in given["audio"]]  # the data workers' part
    with FlopCounterMode(display=False, custom_mapping=OF_ENCODERS) as counter:
        model(given)["loss"].backward()
    count = count_step(skeleton.model, workload(model))
    assert count.logits == 0
    tokens = 3 * count.tokens["speech"]
    embeddings = model.llm.get_input_embeddings().weight
    assert count.forward["llm"] == 2 * tokens * embeddings.numel()  # the words alone
    assert count.flops == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize(("kind", "stage"), STEPS)
def test_activations_are_what_a_real_step_saves(pair, kind, stage):
    model, skeleton = pair(kind, stage)
    given = samples(3)
    there = [*model.parameters(), *model.buffers()]
    saved = SavedBytes(there)
    with saved.hooks():
        model(given)
    count = count_step(skeleton.model, workload(model))
    assert count.activations == pytest.approx(saved.total, rel=0.1)


@pytest.mark.parametrize("stage", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_the_peak_is_that_of_a_real_step(pair, stage):
    model, skeleton = pair("pal", stage)
    given = samples(3)
    given["audio"] = model.frontend.collate([model.frontend(clip) for clip in given["audio"]])
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live:
        model(given)["loss"].backward()
    count = count_step(skeleton.model, workload(model))
    assert count.peak[0] - count.inputs == pytest.approx(live.peak[0], rel=0.1)


@pytest.mark.slow
def test_checkpointing_repeats_the_layers_and_keeps_less(pair):
    _, skeleton = pair("plits", "full")
    work = Workload(3, clip_s=1.28)
    kept, again = (count_step(skeleton.model, work, checkpointing=c) for c in (False, True))
    assert again.forward == kept.forward
    logits = 2 * 3 * work.answer * skeleton.model.llm.lm_head.weight.numel()
    layers = kept.forward["llm"] - logits
    # A layer is not computed beyond the last thing that its backward pass needs.
    assert 0.8 * layers < again.backward - kept.backward <= layers
    assert again.activations < 0.5 * kept.activations


@pytest.mark.slow
def test_a_frozen_layer_costs_no_weight_gradient_but_passes_input_gradients(pair):
    """Two products in the backward pass where all is trained, one where only inputs need it."""
    work = Workload(3, clip_s=1.28)
    frozen, full = (count_step(pair("plits", s)[1].model, work) for s in ("frozen", "full"))
    assert frozen.forward == full.forward
    assert frozen.backward < 0.7 * full.backward
    assert frozen.backward > 0.9 * frozen.forward["llm"]


@pytest.mark.slow
def test_autocast_halves_what_matrix_products_keep(pair):
    _, skeleton = pair("plits", "full")
    work = Workload(3, clip_s=1.28)
    plain, cast = (
        count_step(skeleton.model, work, autocast=dtype) for dtype in (None, torch.bfloat16)
    )
    assert cast.flops == plain.flops
    assert 0.5 * plain.activations < cast.activations < 0.95 * plain.activations
