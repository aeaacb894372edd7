"""What LAL does alike for all families; those that use `checks.py` have what depends on them."""

import copy

import pytest
import torch
from families import VOCAB, WIDTH, build
from transformers import GPT2Config, GPT2LMHeadModel

from pal_plugin.integration import AudioContext, attach, detach

OPTIONS = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}


def tiny(**overrides):
    return build("llama", "sdpa", **overrides)


def a_batch(left=False):
    """Two texts of 7 and 5 tokens, two clips of 6 and 4 tokens; padded audio holds NaN."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCAB, (2, 7), generator=generator)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, slice(0, 2) if left else slice(5, 7)] = 0
    audio_mask = torch.ones(2, 6, dtype=torch.bool)
    audio_mask[1, 4:] = False
    features = torch.randn(2, 6, WIDTH, generator=generator)
    return (
        ids,
        mask,
        AudioContext(features.masked_fill(~audio_mask[..., None], torch.nan), audio_mask),
    )


def test_one_layer_equals_plits():
    llm = attach(tiny(num_hidden_layers=1))
    ids, mask, audio = a_batch()
    lal = llm(input_ids=ids, attention_mask=mask, audio=audio).logits
    features = torch.where(audio.mask[..., None], audio.features, 0)
    whole = torch.cat([audio.mask.long(), mask], 1)
    plits = llm(
        inputs_embeds=torch.cat([features, llm.model.embed_tokens(ids)], 1),
        attention_mask=whole,
        position_ids=(whole.cumsum(-1) - 1).clamp(min=0),
    ).logits[:, 6:]
    difference = (lal - plits)[mask.bool()].abs().max()
    assert difference <= 1e-5 * plits.abs().max()


def test_generation_from_embeddings_equals_that_from_ids():
    llm = attach(tiny())
    ids, mask, audio = a_batch(left=True)
    beams = {"attention_mask": mask, "audio": audio, "num_beams": 3, **OPTIONS}
    expected = llm.generate(input_ids=ids, **beams)[:, ids.shape[1] :]
    assert torch.equal(llm.generate(inputs_embeds=llm.model.embed_tokens(ids), **beams), expected)
    assert audio.kv is None  # what one call remembers does not outlive it


def test_attaching_or_detaching_twice_is_harmless():
    llm = tiny()
    ids, mask, audio = a_batch()
    batch = {"input_ids": ids, "attention_mask": mask}
    plain = llm(**batch).logits
    attach(llm)
    once = llm(**batch, audio=audio).logits
    assert torch.equal(attach(llm)(**batch, audio=audio).logits, once)
    assert torch.equal(detach(llm)(**batch).logits, plain)
    assert torch.equal(detach(llm)(**batch).logits, plain)
    assert torch.equal(attach(llm)(**batch, audio=audio).logits, once)


def test_a_deep_copy_is_independent():
    llm = attach(tiny())
    ids, _, audio = a_batch()
    twin = copy.deepcopy(llm)
    torch.nn.init.zeros_(llm.model.layers[0].self_attn.k_proj.weight)
    torch.nn.init.zeros_(llm.model.layers[0].input_layernorm.weight)
    other = attach(tiny())
    expected = other(input_ids=ids, audio=audio).logits
    assert torch.equal(twin(input_ids=ids, audio=audio).logits, expected)
    assert torch.equal(
        twin.generate(input_ids=ids, audio=audio, **OPTIONS),
        other.generate(input_ids=ids, audio=audio, **OPTIONS),
    )


def test_errors_say_what_is_missing():
    with pytest.raises(TypeError, match=r"'gpt2'\): it lacks `layers` in the decoder"):
        attach(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2)))
    llm = attach(tiny())
    ids, _, audio = a_batch()
    with pytest.raises(ValueError, match="31 wide, the LLM is 32"):
        llm(input_ids=ids, audio=AudioContext(audio.features[..., :31], audio.mask))
    with pytest.raises(ValueError, match="2 samples and the text 3 rows"):
        llm(input_ids=ids[:1].expand(3, -1), audio=audio)
    with pytest.raises(ValueError, match="mask must be bool"):
        AudioContext(audio.features, audio.mask.long())


def test_a_shared_config_and_a_changed_implementation():
    first = tiny()
    second = type(first)(first.config).eval()
    ids, mask, audio = a_batch(left=True)
    text = {"input_ids": ids, "attention_mask": mask}
    plain = second(**text).logits
    attach(first)
    assert torch.equal(second(**text).logits, plain)
    heard = attach(second)(**text, audio=audio).logits
    assert not torch.allclose(heard, plain)
    # The masks are made for the new implementation from then on, in both.
    copies = [copy.deepcopy(detach(copy.deepcopy(model))) for model in (first, second)]
    second.config._attn_implementation = "eager"
    for model, stock in zip((first, second), copies, strict=True):
        stock.config._attn_implementation = "eager"
        assert torch.equal(model(**text).logits, stock(**text).logits)
    valid = mask.bool()
    assert torch.allclose(second(**text, audio=audio).logits[valid], heard[valid], atol=1e-5)
    second.set_attn_implementation("sdpa")
    assert torch.equal(second(**text, audio=audio).logits, heard)
    assert torch.equal(detach(second)(**text).logits, plain)
    assert first(**text, audio=audio).logits.isfinite().all()


def test_an_implementation_that_cannot_hear_is_refused_where_audio_comes():
    llm = attach(build("gpt_oss", "eager"))
    ids, _, audio = a_batch()
    stock = copy.deepcopy(detach(copy.deepcopy(llm)))
    for model in (llm, stock):
        model.config._attn_implementation = "sdpa"  # transformers itself would refuse to
    assert torch.equal(llm(input_ids=ids).logits, stock(input_ids=ids).logits)
    with pytest.raises(ValueError, match=r"was changed after attach.*attention sinks.*'eager'"):
        llm(input_ids=ids, audio=audio)
    llm.config._attn_implementation = "eager"
    assert llm(input_ids=ids, audio=audio).logits.isfinite().all()
    both_ways = tiny()
    both_ways.config.is_causal = False
    with pytest.raises(TypeError, match="attends in both directions"):
        attach(both_ways)


def test_one_context_for_batches_of_different_size():
    llm = attach(tiny())
    ids, _, audio = a_batch()
    for rows in (2, 4, 2):
        text = ids.repeat_interleave(rows // 2, 0)
        got = llm(input_ids=text, audio=audio).logits
        assert torch.allclose(got[:: rows // 2], llm(input_ids=ids, audio=audio).logits, atol=1e-5)
