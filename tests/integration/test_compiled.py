"""Compilers, flex attention and several processes, on all families."""

import ddp_worker
import pytest
import torch
import transformers
from checks import (
    Batch,
    close,
    each_family,
    generate,
    params,
    reference_of_generated,
    tiny,
)
from families import FAMILIES, build
from packaging.version import Version

from pal_plugin.integration import attach


@pytest.mark.parametrize(
    ("family", "backend"),
    [
        pytest.param(*case.values, marks=pytest.mark.slow if "eager" in case.values else case.marks)
        for case in params(FAMILIES, ("eager", "sdpa"))
    ],
)
@pytest.mark.parametrize("region", ["layers", pytest.param("decoder", marks=pytest.mark.slow)])
def test_compiled_in_one_graph(family, backend, region):
    check_compiled(attach(tiny(family, backend)), region, "aot_eager")


@pytest.mark.slow
@each_family
def test_compiled_by_inductor(family):
    check_compiled(attach(tiny(family)), "layers", "inductor")


@pytest.mark.slow
@each_family
def test_groups_with_layers_of_their_own(family):
    spans = ((2, frozenset({0})), (4, None))
    heard = lambda layer: range(6) if layer == 0 else range(2, 6)  # noqa: E731
    check_compiled(attach(tiny(family)), "layers", "aot_eager", {"spans": spans}, heard)


def check_compiled(llm, region, compiler, more=None, columns=None):
    experts = hasattr(llm.config, "num_experts_per_tok")
    if experts and Version(transformers.__version__).major < 5:
        pytest.skip("transformers 4 loops over the chosen experts, which no graph holds")
    torch.compiler.reset()
    for part in [llm.model] if region == "decoder" else llm.model.layers:
        part.compile(fullgraph=True, backend=compiler)
    for seed in (1, 2):
        batch = Batch(seed=seed)
        batch.features.requires_grad_()
        # The next batch of the same shape must find its graph.
        with torch._dynamo.config.patch(error_on_recompile=seed == 2):
            logits = llm(**batch.text, audio=batch.audio(**(more or {})), use_cache=False).logits
        batch.check(logits, batch.reference(llm, columns=columns))
        losses = batch.loss(logits), batch.loss_of_reference(llm, columns)
        close(*(torch.autograd.grad(loss, batch.features)[0] for loss in losses))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gemma3"])
def test_flex_attention(family):
    """Forward only: on the CPU it has no backward."""
    llm = attach(build(family, "flex_attention"))
    for padding in ("left", "right", None):
        batch = Batch(padding, n=20)
        batch.check(llm(**batch.text, audio=batch.audio()).logits, batch.reference(llm))
    batch = Batch()
    out = generate(llm, batch, do_sample=False)
    for new, expected in reference_of_generated(llm, batch, out.sequences):
        assert torch.equal(new, expected.argmax(-1))


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    torch.multiprocessing.spawn(
        ddp_worker.run, (list(FAMILIES), str(tmp_path)), nprocs=ddp_worker.PROCESSES
    )
    for family in FAMILIES:
        one = ddp_worker.Listener(family)
        losses = []
        for rank in range(ddp_worker.PROCESSES):
            ids, sounds, mask = ddp_worker.batch_of(rank)
            losses.append(ddp_worker.loss(one.reference(ids, sounds, mask), ids))
        torch.stack(losses).mean().backward()
        for way in ddp_worker.WAYS:
            gradients = torch.load(tmp_path / f"{family} {way}.pt")
            for name, parameter in one.named_parameters():
                close(gradients[name], parameter.grad)
