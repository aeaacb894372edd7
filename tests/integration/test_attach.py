"""`attach` beside peft, and what it leaves as it was, on all families."""

import copy

import pytest
import torch
from checks import (
    Batch,
    differ,
    each_family,
    each_family_and_backend,
    generate,
    lora_targets,
    randomise_lora,
    reference_of_generated,
    tiny,
    with_lora,
)
from families import NO_SDPA, build
from peft import LoraConfig, get_peft_model

from pal_plugin.integration import attach, detach


@each_family_and_backend
def test_without_audio_nothing_changes_and_detach_restores(family, backend):
    llm = tiny(family, backend)
    plain = copy.deepcopy(llm)
    batch = Batch()
    keys = list(llm.state_dict())
    options = {"do_sample": False, "max_new_tokens": 3, "pad_token_id": 0}

    def outputs(model):
        with torch.no_grad():
            quiet = model(**batch.text).logits
            tokens = model.generate(**batch.text, **options)
        logits = model(**batch.text).logits
        gradients = torch.autograd.grad(logits.sum(), list(model.parameters()))
        return [quiet, tokens, logits, *gradients]

    expected = outputs(plain)
    attach(llm)
    assert list(llm.state_dict()) == keys
    assert all(map(torch.equal, outputs(llm), expected))
    differ(llm(**batch.text, audio=batch.audio()).logits[0], expected[0][0])
    detach(llm)
    assert llm.config._attn_implementation == plain.config._attn_implementation
    assert all(map(torch.equal, outputs(llm), expected))
    for ours, theirs in zip(llm.modules(), plain.modules(), strict=True):
        assert ours.__dict__.keys() == theirs.__dict__.keys()
        assert not ours._forward_pre_hooks
    with pytest.raises(ValueError, match="audio"):
        llm.generate(**batch.text, audio=batch.audio(), **options)


@torch.no_grad()
@each_family
def test_lora_before_or_after_attach(family):
    batch = Batch()
    before = attach(with_lora(tiny(family)))
    after = with_lora(attach(tiny(family)))
    expected = batch.reference(before)
    batch.check(before(**batch.text, audio=batch.audio()).logits, expected)
    batch.check(after(**batch.text, audio=batch.audio()).logits, expected)
    differ(batch.reference(tiny(family))[0], expected[0])


@torch.no_grad()
@each_family
@pytest.mark.parametrize("wrap_first", [True, False])
def test_in_the_wrapper_of_peft(family, wrap_first):
    llm = tiny(family)
    if not wrap_first:
        attach(llm)
    config = LoraConfig(r=8, target_modules=lora_targets(family), task_type="CAUSAL_LM")
    wrapped = randomise_lora(get_peft_model(llm, config)).eval()
    if wrap_first:
        assert attach(wrapped) is wrapped
    batch = Batch()
    batch.check(wrapped(**batch.text, audio=batch.audio()).logits, batch.reference(wrapped))
    out = generate(wrapped, batch, do_sample=False)
    for new, expected in reference_of_generated(wrapped, batch, out.sequences):
        assert torch.equal(new, expected.argmax(-1))
    with wrapped.disable_adapter():
        batch.check(wrapped(**batch.text, audio=batch.audio()).logits, batch.reference(wrapped))
    detach(wrapped)
    assert llm.config._attn_implementation == tiny(family).config._attn_implementation


@torch.no_grad()
@each_family
def test_modules_that_are_replaced_after_attach(family):
    """peft puts a trained copy in their place."""
    llm = attach(tiny(family))
    keys = " ".join(llm.state_dict())
    replaced = [name for name in ("input_layernorm", "k_norm") if name in keys]
    config = LoraConfig(target_modules=lora_targets(family), modules_to_save=replaced)
    wrapped = get_peft_model(llm, config).eval()
    generator = torch.Generator().manual_seed(7)
    for name, parameter in wrapped.named_parameters():
        if "modules_to_save" in name:
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    batch = Batch()
    batch.check(wrapped(**batch.text, audio=batch.audio()).logits, batch.reference(wrapped))


@pytest.mark.parametrize("family", NO_SDPA)
def test_what_sdpa_leaves_out_is_refused(family):
    llm = build(family)
    llm.config._attn_implementation = "sdpa"  # up to 5.17 transformers chooses it for Gemma 2
    with pytest.raises(TypeError, match=r"(?s)sdpa.*eager"):
        attach(llm)


@pytest.mark.parametrize(
    ("family", "scaling"),
    [
        ("qwen2", {"type": "dynamic", "factor": 2.0}),
        ("phi3", {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}),
    ],
)
def test_rotary_embeddings_that_depend_on_the_length_are_refused(family, scaling):
    llm = build(family, "sdpa", rope_scaling=scaling)
    with pytest.raises(TypeError, match=scaling["type"]):
        attach(llm)
