"""Gated cross attention against an explicit computation, and what it leaves alone."""

import copy

import pytest
import torch
from families import WIDTH, build

from pal_plugin.integration import AudioContext, attach, detach, flamingo


def tiny():
    return build("llama", "sdpa", num_hidden_layers=4)


def opened(llm, **kwargs):
    """Blocks whose gates let something through, the same ones every time."""
    torch.manual_seed(0)
    blocks = flamingo.attach(llm, **kwargs)
    for block in blocks.values():
        torch.nn.init.constant_(block.gate_attention, 0.8)
        torch.nn.init.constant_(block.gate_ffn, -0.5)
        torch.nn.init.normal_(block.norm_audio.weight)
    return blocks


def a_batch():
    torch.manual_seed(1)
    ids = torch.randint(0, 50, (3, 7))
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2] = False
    features = torch.randn(3, 6, WIDTH).masked_fill(~mask[..., None], float("nan"))
    return ids, AudioContext(features, mask)


def block_by_hand(block, text, audio):
    """One row: text [n, D], its valid audio [m, D]; without any the text is the LLM's own."""
    if not len(audio):
        return text
    q = block.q_proj(block.norm(text)).unflatten(-1, (block.heads, -1))
    heard = block.norm_audio(audio)
    k, v = (p(heard).unflatten(-1, (block.heads, -1)) for p in (block.k_proj, block.v_proj))
    weights = (torch.einsum("nhd,mhd->hnm", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    out = block.o_proj(torch.einsum("hnm,mhd->nhd", weights, v).flatten(1))
    text = text + torch.tanh(block.gate_attention) * out
    return text + torch.tanh(block.gate_ffn) * block.ffn(text)


def test_equals_the_equations_with_gradients():
    llm = tiny()
    blocks = opened(llm, every=2)
    assert list(blocks) == ["1", "3"]
    ids, audio = a_batch()
    got = llm(input_ids=ids, cross_audio=audio).logits
    flamingo.detach(llm)

    def by_hand(_layer, args, kwargs, index):
        rows = [
            block_by_hand(blocks[index], row, audio.features[i, audio.mask[i]])
            for i, row in enumerate(args[0])
        ]
        return (torch.stack(rows), *args[1:]), kwargs

    for index in blocks:
        llm.model.layers[int(index)].register_forward_pre_hook(
            lambda layer, args, kwargs, i=index: by_hand(layer, args, kwargs, i), with_kwargs=True
        )
    expected = llm(input_ids=ids).logits
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    probe = torch.randn_like(got)
    weights = list(blocks.parameters())
    found = torch.autograd.grad((got * probe).sum(), weights)
    reference = torch.autograd.grad((expected * probe).sum(), weights)
    for a, b in zip(found, reference, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()
        assert b.abs().max() > 0


def test_fresh_blocks_and_no_audio_change_nothing_and_detach_undoes_it():
    llm = tiny()
    keys = list(llm.state_dict())
    ids, audio = a_batch()
    plain = llm(input_ids=ids).logits
    flamingo.attach(llm, layers=[0, 2])
    assert torch.equal(llm(input_ids=ids).logits, plain)
    assert torch.allclose(llm(input_ids=ids, cross_audio=audio).logits, plain)
    assert list(llm.state_dict()) == keys
    flamingo.detach(flamingo.detach(llm))
    with pytest.raises(ValueError, match="not used by the model"):
        llm.generate(input_ids=ids, cross_audio=audio, max_new_tokens=1, pad_token_id=0)
    opened(llm, every=2)
    assert not torch.allclose(llm(input_ids=ids, cross_audio=audio).logits, plain)


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_generation_equals_the_uncached(beams):
    llm = attach(tiny())  # beside LAL, whose audio is another
    opened(llm, every=2)
    ids, audio = a_batch()
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "num_beams": beams}
    other = AudioContext(torch.randn(3, 4, WIDTH), torch.ones(3, 4, dtype=torch.bool))
    both = {"cross_audio": audio, "audio": other}
    cached = llm.generate(input_ids=ids, **both, **options)
    assert torch.equal(cached, llm.generate(input_ids=ids, use_cache=False, **both, **options))
    assert audio.kv is None


def test_gradient_checkpointing_keeps_the_gradient():
    ids, audio = a_batch()
    gradients = []
    for checkpointing in (False, True):
        llm = attach(tiny()).train()
        blocks = opened(llm, every=2)
        if checkpointing:
            llm.gradient_checkpointing_enable()
        llm(input_ids=ids, cross_audio=audio).logits.sum().backward()
        gradients.append(blocks["1"].k_proj.weight.grad)
    assert gradients[0].abs().max() > 0
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-5 * gradients[0].abs().max()


def test_reentrant_checkpointing_is_refused_where_audio_comes_in():
    ids, audio = a_batch()
    llm = tiny().train()  # without LAL, whose `attach` changes the default
    opened(llm, layers=[2])
    llm.gradient_checkpointing_enable({"use_reentrant": True})
    llm.enable_input_require_grads()
    llm(input_ids=ids).logits.sum().backward()
    with pytest.raises(ValueError, match="'use_reentrant': False"):
        llm(input_ids=ids, cross_audio=audio)


def test_several_rows_share_a_clip():
    llm = tiny()
    opened(llm, every=2)
    ids, audio = a_batch()
    one = AudioContext(audio.features[:1], audio.mask[:1])
    shared = llm(input_ids=ids, cross_audio=one).logits
    repeated = AudioContext(audio.features[:1].repeat(3, 1, 1), audio.mask[:1].repeat(3, 1))
    expected = llm(input_ids=ids, cross_audio=repeated).logits
    assert torch.allclose(shared, expected, atol=1e-5)


def test_a_deep_copy_is_independent():
    llm = tiny()
    opened(llm, every=2)
    ids, audio = a_batch()
    before = llm(input_ids=ids, cross_audio=audio).logits
    twin = copy.deepcopy(llm)
    for parameter in llm.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.allclose(twin(input_ids=ids, cross_audio=audio).logits, before)


def test_errors():
    llm = tiny()
    with pytest.raises(ValueError, match=r"in front of \[7\]; the LLM has layers 0..3"):
        flamingo.attach(llm, layers=[7])
    with pytest.raises(ValueError, match="5 heads do not divide"):
        flamingo.attach(llm, heads=5)
    flamingo.attach(llm)
    with pytest.raises(ValueError, match="attached already"):
        flamingo.attach(llm)
    with pytest.raises(TypeError, match=r"cross_audio=AudioContext.* got Tensor"):
        llm(input_ids=torch.ones(1, 2, dtype=torch.long), cross_audio=torch.zeros(1, 2, WIDTH))
    ids, audio = a_batch()
    with pytest.raises(ValueError, match="31 wide, the LLM is 32"):
        llm(input_ids=ids, cross_audio=AudioContext(torch.zeros(3, 6, 31), audio.mask))
    with pytest.raises(ValueError, match="the LLM is not attached for it"):
        llm.generate(input_ids=ids, audio=audio, max_new_tokens=1)
    with pytest.raises(ValueError, match="got audio=, which only LAL uses"):
        llm(input_ids=ids, audio=audio)
    with pytest.raises(ValueError, match="got cross_audio=, which only cross attention uses"):
        attach(tiny())(input_ids=ids, cross_audio=audio)


def test_peft_wraps_it():
    from peft import LoraConfig, get_peft_model

    ids, audio = a_batch()
    wrapped = get_peft_model(tiny(), LoraConfig(r=2, target_modules=["q_proj"]))
    opened(attach(wrapped), every=2)
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    heard = wrapped.generate(input_ids=ids, cross_audio=audio, **options)
    assert heard.shape == (3, 10)
    flamingo.detach(detach(wrapped))
    assert "generate" not in wrapped.get_base_model().__dict__
