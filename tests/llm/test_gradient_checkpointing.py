"""Reentrant gradient checkpointing is for text only."""

import pytest
import torch
from checks import (
    Batch,
    tiny,
)

from pal_plugin.integration import attach


@pytest.mark.parametrize(
    "name", ["gradient_checkpointing_enable", "activation_checkpointing_enable"]
)
def test_reentrant_checkpointing_is_for_text_only(name):
    llm = attach(tiny("llama")).train()
    if not hasattr(llm, name):
        pytest.skip("the newer of the two names")
    batch = Batch()
    expected = torch.autograd.grad(batch.loss(llm(**batch.text).logits), llm.model.norm.weight)
    getattr(llm, name)({"use_reentrant": True})
    llm.enable_input_require_grads()  # without it reentrant checkpointing has no gradient at all
    gradient = torch.autograd.grad(batch.loss(llm(**batch.text).logits), llm.model.norm.weight)
    assert torch.equal(gradient[0], expected[0])
    with pytest.raises(ValueError, match="'use_reentrant': False"):
        llm(**batch.text, audio=batch.audio())
    with torch.no_grad():
        assert llm(**batch.text, audio=batch.audio()).logits.isfinite().all()
