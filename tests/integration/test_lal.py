"""LAL against an explicit dense computation, and against stock PLITS with its audio rows reset."""

import copy

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pal_plugin.integration import AudioContext, attach, detach
from pal_plugin.llm.loading import add_lora

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}
WIDTH, LAYERS = 32, 3


def tiny(family="llama", backend="sdpa", layers=LAYERS, seed=0):
    config, model = FAMILIES[family]
    torch.manual_seed(seed)
    llm = model(
        config(
            vocab_size=50,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_implementation=backend,
            initializer_range=0.2,
        )
    )
    return llm.eval()


def a_batch(seed=1, left=False):
    """Two texts of 7 and 5 tokens, two clips of 6 and 4 tokens; padded audio holds NaN."""
    torch.manual_seed(seed)
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, slice(0, 2) if left else slice(5, 7)] = 0
    audio_mask = torch.ones(2, 6, dtype=torch.bool)
    audio_mask[1, 4:] = False
    features = torch.randn(2, 6, WIDTH).masked_fill(~audio_mask[..., None], float("nan"))
    return ids, mask, AudioContext(features, audio_mask)


def dense_lal(llm, ids, audio, layers=None):
    """Hidden states from the equations, for one unpadded sample: ids [n], audio [m, D]."""
    decoder, config = llm.model, llm.config
    n, m = len(ids), len(audio)
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    size = config.hidden_size // heads
    cos, sin = decoder.rotary_emb(audio[None], torch.arange(m + n)[None])
    cos, sin = cos[0], sin[0]

    def rotate(x, at):  # x [rows, heads, size]
        half = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * cos[at][:, None] + half * sin[at][:, None]

    h = decoder.embed_tokens(ids)
    for index, layer in enumerate(decoder.layers):
        seen = m if layers is None or index in layers else 0
        attention = layer.self_attn
        text = layer.input_layernorm(h)
        both = torch.cat([layer.input_layernorm(audio[:seen]), text])
        at = torch.cat([torch.arange(seen), m + torch.arange(n)])
        q = rotate(attention.q_proj(text).view(n, heads, size), m + torch.arange(n))
        k = rotate(attention.k_proj(both).view(-1, groups, size), at)
        v = attention.v_proj(both).view(-1, groups, size)
        k, v = (x.repeat_interleave(heads // groups, 1) for x in (k, v))
        rows = []
        for i in range(n):
            visible = seen + i + 1
            weights = torch.einsum("hd,jhd->hj", q[i], k[:visible]) / size**0.5
            rows.append(torch.einsum("hj,jhd->hd", weights.softmax(-1), v[:visible]).flatten())
        h = h + attention.o_proj(torch.stack(rows))
        h = h + layer.mlp(layer.post_attention_layernorm(h))
    return llm.lm_head(decoder.norm(h))


def close(a, b, tolerance=1e-5):
    scale = b.abs().max()
    assert (a - b).abs().max() <= tolerance * scale, f"{(a - b).abs().max()} of {scale}"


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("left", [False, True])
def test_equals_the_equations(family, backend, left):
    llm = attach(tiny(family, backend))
    ids, mask, audio = a_batch(left=left)
    logits = llm(input_ids=ids, attention_mask=mask, audio=audio).logits
    for row in range(2):
        text, valid = mask[row].bool(), audio.mask[row]
        expected = dense_lal(llm, ids[row, text], audio.features[row, valid])
        close(logits[row, text], expected)


def test_gradients_equal_those_of_the_equations():
    llm = add_lora(attach(tiny()))
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    ids, _, audio = a_batch()
    features = audio.features[:1].clone().requires_grad_()
    weights = [p for n, p in llm.named_parameters() if "lora_" in n]
    got = llm(input_ids=ids[:1], audio=AudioContext(features, audio.mask[:1])).logits
    probe = torch.randn_like(got)
    gradients = torch.autograd.grad((got * probe).sum(), [features, *weights])
    expected = dense_lal(llm, ids[0], features[0])
    reference = torch.autograd.grad((expected * probe[0]).sum(), [features, *weights])
    for a, b in zip(gradients, reference, strict=True):
        close(a, b, 1e-4)


def test_a_set_of_layers():
    llm = attach(tiny())
    ids, _, audio = a_batch()
    some = AudioContext(audio.features[:1], audio.mask[:1], layers=[1])
    logits = llm(input_ids=ids[:1], audio=some).logits[0]
    close(logits, dense_lal(llm, ids[0], audio.features[0], layers={1}))
    none = AudioContext(audio.features[:1], audio.mask[:1], layers=[])
    close(llm(input_ids=ids[:1], audio=none).logits, llm(input_ids=ids[:1]).logits)


def test_one_layer_equals_plits():
    llm = attach(tiny(layers=1))
    ids, mask, audio = a_batch()
    lal = llm(input_ids=ids, attention_mask=mask, audio=audio).logits
    features = torch.where(audio.mask[..., None], audio.features, 0)
    whole = torch.cat([audio.mask.long(), mask], 1)
    plits = llm(
        inputs_embeds=torch.cat([features, llm.model.embed_tokens(ids)], 1),
        attention_mask=whole,
        position_ids=(whole.cumsum(-1) - 1).clamp(min=0),
    ).logits[:, 6:]
    close(lal[mask.bool()], plits[mask.bool()])


def test_equals_stock_plits_with_audio_rows_reset_before_every_layer():
    llm = tiny()
    ids, mask, audio = a_batch()
    features = torch.where(audio.mask[..., None], audio.features, 0)
    whole = torch.cat([audio.mask.long(), mask], 1)

    def reset(_module, args):
        hidden = args[0].clone()
        hidden[:, :6] = features
        return (hidden, *args[1:])

    hooks = [layer.register_forward_pre_hook(reset) for layer in llm.model.layers]
    expected = llm(
        inputs_embeds=torch.cat([features, llm.model.embed_tokens(ids)], 1),
        attention_mask=whole,
        position_ids=(whole.cumsum(-1) - 1).clamp(min=0),
    ).logits[:, 6:]
    for hook in hooks:
        hook.remove()
    logits = attach(llm)(input_ids=ids, attention_mask=mask, audio=audio).logits
    close(logits[mask.bool()], expected[mask.bool()])


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_attached_without_audio_is_bit_identical_and_detach_undoes_it(backend):
    llm = tiny(backend=backend)
    keys = list(llm.state_dict())
    ids, mask, audio = a_batch()
    plain = llm(input_ids=ids, attention_mask=mask).logits
    attach(attach(llm))
    assert torch.equal(llm(input_ids=ids, attention_mask=mask).logits, plain)
    assert list(llm.state_dict()) == keys
    with_audio = llm(input_ids=ids, attention_mask=mask, audio=audio).logits
    assert not torch.allclose(with_audio, plain)
    detach(llm)
    assert llm.config._attn_implementation == backend
    assert not hasattr(llm.model.layers[0].self_attn, "_lal")
    assert torch.equal(llm(input_ids=ids, attention_mask=mask).logits, plain)
    detach(llm)


def test_fully_masked_audio_is_no_audio():
    llm = attach(tiny())
    ids, mask, audio = a_batch()
    deaf = AudioContext(audio.features, torch.zeros_like(audio.mask))
    close(
        llm(input_ids=ids, attention_mask=mask, audio=deaf).logits[mask.bool()],
        llm(input_ids=ids, attention_mask=mask).logits[mask.bool()],
    )


@pytest.mark.parametrize(
    "kwargs", [{}, {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}]
)
@pytest.mark.parametrize("embeds", [False, True])
def test_cached_generation_equals_the_uncached_forward(kwargs, embeds):
    llm = attach(tiny())
    ids, mask, audio = a_batch(left=True)
    prompt = {"inputs_embeds": llm.model.embed_tokens(ids)} if embeds else {"input_ids": ids}
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached = llm.generate(**prompt, attention_mask=mask, audio=audio, **options, **kwargs)
    slow = llm.generate(
        **prompt, attention_mask=mask, audio=audio, use_cache=False, **options, **kwargs
    )
    assert torch.equal(cached, slow)
    assert audio.kv is None  # what one call remembers does not outlive it
    if not kwargs and not embeds:
        row = 1
        text, valid = mask[row].bool(), audio.mask[row]
        sequence = ids[row, text]
        for _ in range(5):
            following = dense_lal(llm, sequence, audio.features[row, valid])[-1].argmax()
            sequence = torch.cat([sequence, following[None]])
        assert cached[row, -5:].tolist() == sequence[-5:].tolist()


def test_gradient_checkpointing_keeps_the_gradient():
    ids, _, audio = a_batch()
    gradients = []
    for checkpointing in (False, True):
        llm = attach(tiny()).train()
        if checkpointing:
            llm.gradient_checkpointing_enable({"use_reentrant": False})
        features = audio.features[:1].clone().requires_grad_()
        llm(input_ids=ids[:1], audio=AudioContext(features, audio.mask[:1])).logits.sum().backward()
        gradients.append(features.grad)
    close(gradients[1], gradients[0])


def test_a_deep_copy_is_independent():
    llm = attach(tiny())
    ids, _, audio = a_batch()
    twin = copy.deepcopy(llm)
    torch.nn.init.zeros_(llm.model.layers[0].self_attn.k_proj.weight)
    other = tiny()
    expected = attach(other)(input_ids=ids, audio=audio).logits
    assert torch.equal(twin(input_ids=ids, audio=audio).logits, expected)
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(
        twin.generate(input_ids=ids, audio=audio, **options),
        other.generate(input_ids=ids, audio=audio, **options),
    )


def test_errors_say_what_is_missing():
    from transformers import GPT2Config, GPT2LMHeadModel

    with pytest.raises(TypeError, match=r"olmo2; got 'gpt2'. It lacks"):
        attach(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2)))
    llm = attach(tiny())
    ids, _, audio = a_batch()
    with pytest.raises(ValueError, match="2 samples and the text 3 rows"):
        llm(input_ids=ids[:1].expand(3, -1), audio=audio)
    with pytest.raises(ValueError, match="mask must be bool"):
        AudioContext(audio.features, audio.mask.long())
