"""What LAL does alike for all families; those that use `checks.py` have what depends on them."""

import copy

import pytest
import torch
from checks import Batch, M, close, each_case_and_backend, generate, with_lora
from checks import tiny as tiny_of
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


@each_case_and_backend
@pytest.mark.parametrize("padding", ["left", "right", None])
def test_the_fast_ways_are_the_equations(family, backend, padding):
    """Logits and gradients of audio, gains and weights, of padded batches with gaps."""
    fast, plain = (attach(with_lora(tiny_of(family, backend)), plain=p) for p in (False, True))
    batch = Batch(padding)
    made = [of_audio_gains_and_weights(llm, batch) for llm in (fast, plain)]
    batch.check(*(logits for logits, _ in made))
    assert made[0][1].keys() == made[1][1].keys()
    for name, gradient in made[0][1].items():
        expected = made[1][1][name]
        # A key's bias moves all scores alike, so that its gradient is rounding.
        scale = max(expected.abs().max(), 1e-3 * batch.probe.abs().sum())
        assert (gradient - expected).abs().max() <= 1e-4 * scale, name


@torch.no_grad()
@each_case_and_backend
def test_decoding_is_the_equations(family, backend):
    """With a cache: one query after the other, which the fast way does in one of its own."""
    batch = Batch("left")
    fast, plain = (attach(tiny_of(family, backend), plain=p) for p in (False, True))
    made = [generate(llm, batch, output_logits=True) for llm in (fast, plain)]
    assert torch.equal(made[0].sequences, made[1].sequences)
    for one, other in zip(*(m.logits for m in made), strict=True):
        close(one, other)


def of_audio_gains_and_weights(llm, batch):
    """`(logits, gradients by name)`."""
    features = batch.features.nan_to_num().requires_grad_()
    layers = len(llm.get_decoder().layers)
    gains = torch.linspace(0.2, 1.5, layers * features.shape[1]).view(layers, -1).requires_grad_()
    audio = AudioContext(features, batch.audio_mask, gains=gains)
    logits = llm(**batch.text, audio=audio).logits
    batch.loss(logits).backward()
    weights = {name: p.grad for name, p in llm.named_parameters() if p.grad is not None}
    return logits.detach(), {"audio": features.grad, "gains": gains.grad, **weights}


@torch.no_grad()
def test_the_plain_way_shows_its_weights():
    llm = attach(build("llama", "eager"), plain=True)
    batch = Batch("left")
    weights = llm(**batch.text, audio=batch.audio(), output_attentions=True).attentions[0]
    assert weights.shape == (3, 4, 7, M + 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 7))
    for row in range(3):
        assert not weights[row][:, batch.valid(row)][..., :M][..., ~batch.audio_mask[row]].any()


def test_layers_that_hear_nothing_and_several_rows_per_clip():
    ids = torch.randint(1, VOCAB, (4, 6), generator=torch.Generator().manual_seed(3))
    for layers in ((0,), (1, 2)):
        made = []
        for plain in (False, True):
            llm = attach(tiny(), plain=plain)
            clips = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(4))
            audio = AudioContext(clips, torch.ones(2, 5, dtype=torch.bool), layers)
            made.append(llm(input_ids=ids, audio=audio).logits)
        close(*made)


def test_a_static_cache_is_read_up_to_the_text():
    batch = Batch(None)
    made = []
    for plain in (False, True):
        llm = attach(tiny(), plain=plain)
        made.append(generate(llm, batch, cache_implementation="static", disable_compile=True))
    assert torch.equal(made[0].sequences, made[1].sequences)


def test_the_plain_way_can_be_chosen_later_and_not_for_all_kernels():
    llm = attach(tiny())
    modules = [layer.self_attn for layer in llm.model.layers]
    assert not any(module.lal_adapter.plain for module in modules)
    attach(llm, plain=True)
    assert all(module.lal_adapter.plain for module in modules)
    with pytest.raises(TypeError, match="plain=True is for attn_implementation='eager' or 'sdpa'"):
        attach(build("llama", "flex_attention"), plain=True)
