"""Gradients of audio, weights and LoRA on all families against the explicit reference."""

import pytest
import torch
from checks import (
    Batch,
    close,
    each_case_and_backend,
    each_family,
    tiny,
    with_lora,
)
from reference import lal_logits

from pal_plugin.integration import AudioContext, attach


@each_case_and_backend
@pytest.mark.parametrize("checkpoint_kv", [True, False])
def test_gradients_of_audio_weights_and_lora(family, backend, checkpoint_kv):
    llm = attach(tiny(family, backend), checkpoint_kv=checkpoint_kv)
    with_lora(llm).requires_grad_(True)
    batch = Batch()
    check_gradients(llm, [batch], lambda: batch.loss(llm(**batch.text, audio=batch.audio()).logits))


@each_family
@pytest.mark.parametrize("settings", [None, {"use_reentrant": False}])
@pytest.mark.parametrize("attach_first", [True, False])
def test_gradient_checkpointing(family, settings, attach_first):
    """Also with two forwards before one backward, where state kept in the model would be stale."""
    llm = tiny(family).train()
    if attach_first:
        attach(llm)
    llm.gradient_checkpointing_enable(settings)
    attach(llm)
    batches = [Batch("left", seed=1), Batch("right", seed=2)]
    runs = []
    llm.model.layers[1].self_attn.register_forward_pre_hook(lambda *_: runs.append(1))

    def loss():
        return sum(b.loss(llm(**b.text, audio=b.audio(), use_cache=False).logits) for b in batches)

    check_gradients(llm, batches, loss, lambda: runs.clear())
    assert len(runs) == 4  # each forward twice: it was checkpointed


def test_gradients_of_features_with_other_strides():
    """What is recognised by its place in memory must also be what it seems."""
    llm = attach(tiny("llama"))
    for rows in (1, 3):
        batch = Batch(None)
        turned = batch.features[:rows].mT.contiguous().requires_grad_()
        audio = AudioContext(turned.mT, batch.audio_mask[:rows])
        logits = llm(input_ids=batch.ids[:rows], audio=audio).logits
        expected = torch.stack(
            [lal_logits(llm, batch.ids[row], turned.mT[row]) for row in range(rows)]
        )
        leaves = [turned, *(layer.self_attn.k_proj.weight for layer in llm.model.layers)]
        gradients, wanted = (
            torch.autograd.grad((x * batch.probe[:rows]).sum(), leaves) for x in (logits, expected)
        )
        for a, b in zip(gradients, wanted, strict=True):
            close(a, b)


def check_gradients(llm, batches, loss, before=lambda: None):
    for batch in batches:
        batch.features.requires_grad_()
    leaves = {f"features {i}": b.features for i, b in enumerate(batches)}
    leaves |= dict(llm.named_parameters())
    total = sum(b.loss_of_reference(llm) for b in batches)
    expected = torch.autograd.grad(total, list(leaves.values()))
    before()
    gradients = torch.autograd.grad(loss(), list(leaves.values()))
    for name, got, wanted in zip(leaves, gradients, expected, strict=True):
        difference, scale = (got - wanted).abs().max().item(), wanted.abs().max().item()
        assert scale > 0, name
        assert difference <= 1e-5 * scale, f"{name}: {difference:.2e} of {scale:.3g}"
