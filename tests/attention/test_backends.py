"""The attention kernels: FlashAttention's glue, flex, the GPU's bias, decoding without copies.

FlashAttention is not installed where tests run: slow stand-ins with its interface take the place of
its two kernels, below transformers' own unpadding, which is what LAL has to get right.
"""

import pytest
import torch
from families import WIDTH, build
from torch import nn
from transformers import modeling_flash_attention_utils

from benchmarks.counting import SavedBytes
from pal_plugin.attention import backends
from pal_plugin.integration import AudioContext, attach


def a_batch(side="none"):
    torch.manual_seed(1)
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.ones(2, 7, dtype=torch.long)
    heard = torch.ones(2, 6, dtype=torch.bool)
    if side != "none":
        mask[1, slice(0, 2) if side == "left" else slice(5, 7)] = 0
        heard[1, 4:] = False
    return ids, mask, AudioContext(torch.randn(2, 6, WIDTH), heard)


def dense(query, key, value, scale, causal):
    """[n, H, d] and [k, Hk, d]; the causal mask is aligned to the end, as FlashAttention's is."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = torch.einsum("nhd,khd->hnk", query, key) * scale
    if causal:
        n, k = scores.shape[1:]
        scores = scores.masked_fill(~torch.ones(n, k, dtype=torch.bool).tril(k - n), -torch.inf)
    return torch.einsum("hnk,khd->nhd", scores.softmax(-1), value)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
    assert window_size == (-1, -1)
    rows = [dense(*row, softmax_scale, causal) for row in zip(q, k, v, strict=True)]
    return torch.stack(rows)


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
):
    assert window_size == (-1, -1)
    parts = []
    for row in range(len(cu_seqlens_q) - 1):
        text = slice(cu_seqlens_q[row], cu_seqlens_q[row + 1])
        both = slice(cu_seqlens_k[row], cu_seqlens_k[row + 1])
        parts.append(dense(q[text], k[both], v[both], softmax_scale, causal))
    return torch.cat(parts)


@pytest.fixture
def flash_stand_ins(monkeypatch):
    utils = modeling_flash_attention_utils

    def kernels(implementation, *_args, **_kwargs):
        assert implementation in ("flash_attention_2", None)  # None on transformers 4
        found = [flash_attn_func, flash_attn_varlen_func, utils._pad_input, utils._unpad_input]
        if hasattr(utils, "_flash_with_kvcache_fn"):
            found.insert(2, None)
        return tuple(found)

    for name in ("_flash_fn", "_flash_varlen_fn", "_pad_fn", "_unpad_fn", "_loaded_implementation"):
        monkeypatch.setattr(utils, name, None, raising=False)
    monkeypatch.setattr(utils, "_process_flash_kwargs_fn", None)
    monkeypatch.setattr(utils, "_lazy_imports", kernels)


def with_flash(llm):
    llm.config._attn_implementation = "flash_attention_2"
    return attach(llm)


def close(a, b, tolerance=1e-5):
    assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_flash_equals_eager(flash_stand_ins, side):
    ids, mask, audio = a_batch(side)
    valid = mask.bool()
    eager = attach(build("llama", "eager"))
    flash = with_flash(build("llama", "sdpa"))
    for heard in ({"audio": audio}, {}):
        got = flash(input_ids=ids, attention_mask=mask, **heard).logits
        expected = eager(input_ids=ids, attention_mask=mask, **heard).logits
        close(got[valid], expected[valid])
    if side != "right":  # generation pads on the left
        options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        prompt = {"input_ids": ids, "attention_mask": mask, "audio": audio, **options}
        assert torch.equal(flash.generate(**prompt), eager.generate(**prompt))


def test_flash_refuses_a_window_that_would_hide_audio(flash_stand_ins):
    ids, mask, audio = a_batch()
    narrow = with_flash(build("mistral", "sdpa", sliding_window=8))
    with pytest.raises(ValueError, match="sliding window of 8 would hide audio"):
        narrow(input_ids=ids, attention_mask=mask, audio=audio)
    wide = with_flash(build("mistral", "sdpa", sliding_window=64))
    eager = attach(build("mistral", "eager", sliding_window=64))
    got = wide(input_ids=ids, attention_mask=mask, audio=audio).logits
    close(got, eager(input_ids=ids, attention_mask=mask, audio=audio).logits)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_flex_equals_eager(side):
    ids, mask, audio = a_batch(side)
    valid = mask.bool()
    eager = attach(build("llama", "eager"))
    flex = attach(build("llama", "flex_attention"))
    with torch.no_grad():  # it has no backward on the CPU
        for heard in ({"audio": audio}, {}):
            got = flex(input_ids=ids, attention_mask=mask, **heard).logits
            expected = eager(input_ids=ids, attention_mask=mask, **heard).logits
            close(got[valid], expected[valid])


def test_the_bias_for_gpus_equals_the_mask(monkeypatch):
    """On the CPU torch makes a mask of the bias, so the figures can be compared here."""
    ids, mask, audio = a_batch()
    llm = attach(build("llama", "sdpa"))
    expected = llm(input_ids=ids, attention_mask=mask, audio=audio).logits
    masks = []
    monkeypatch.setattr(backends, "_flash_kernel", lambda *_: True)
    monkeypatch.setattr(backends, "_additive", lambda *a: masks.append(a))
    close(llm(input_ids=ids, attention_mask=mask, audio=audio).logits, expected)
    assert not masks


@pytest.mark.parametrize("side", ["none", "left"])
def test_decoding_copies_no_keys_or_values(monkeypatch, side):
    ids, mask, audio = a_batch(side)
    llm = attach(build("llama", "sdpa"))
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "num_beams": 2}
    prompt = {"input_ids": ids, "attention_mask": mask, "audio": audio, **options}
    few = llm.generate(**prompt)
    monkeypatch.setattr(backends, "FEW_QUERIES", 0)
    assert torch.equal(llm.generate(**prompt), few)  # the same by concatenation
    monkeypatch.setattr(backends, "FEW_QUERIES", 16)

    def refuse(*_):
        raise AssertionError("keys and values are concatenated")

    monkeypatch.setattr(backends, "_behind", refuse)
    assert torch.equal(llm.generate(**prompt), few)


def test_few_queries_stand_in_for_many_rows_about_one_clip():
    llm = attach(build("llama", "sdpa"))
    ids, _, audio = a_batch()
    one = AudioContext(audio.features[:1], audio.mask[:1])
    many = AudioContext(audio.features[:1].repeat(4, 1, 1), audio.mask[:1].repeat(4, 1))
    rows = ids.repeat(2, 1)
    with torch.no_grad():
        shared = llm(input_ids=rows, audio=one).logits
        close(shared, llm(input_ids=rows, audio=many).logits)
    close(shared, llm(input_ids=rows, audio=many).logits)  # with gradients: concatenated


def test_attention_dropout_is_applied_without_gradients_too():
    llm = attach(build("llama", "sdpa", attention_dropout=0.5)).train()
    ids, _, audio = a_batch()
    with torch.no_grad():
        first, second = (llm(input_ids=ids, audio=audio).logits for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_one_mask_serves_all_layers(monkeypatch, backend, grad):
    llm = attach(build("llama", backend))
    ids, mask, audio = a_batch("left")
    made, additive = [], backends._additive
    monkeypatch.setattr(backends, "_additive", lambda *a: made.append(a) or additive(*a))
    with torch.set_grad_enabled(grad):
        llm(input_ids=ids, attention_mask=mask, audio=audio)
    assert len(made) == 1


def saved_bytes(llm, **inputs):
    saved = SavedBytes(llm.parameters())
    with saved.hooks():
        llm(**inputs).logits.sum()
    return saved.total


def test_the_audio_is_kept_once_and_not_per_layer():
    llm = build("llama", "sdpa", hidden_size=64, num_hidden_layers=6, num_key_value_heads=1).train()
    ids = torch.randint(0, 50, (1, 8))
    features = torch.randn(1, 200, 64, requires_grad=True)
    audio = AudioContext(features, torch.ones(1, 200, dtype=torch.bool))
    taken = {}
    for recomputed in (True, False):
        attach(llm, checkpoint_kv=recomputed)
        taken[recomputed] = saved_bytes(llm, input_ids=ids, audio=audio)
    taken["text"] = saved_bytes(llm, input_ids=ids)
    hidden, keys = features.nbytes, 208 * 16 * 4
    # H and its quotient once; by layer keys and values and what attention keeps of its queries
    assert taken[True] - taken["text"] < 2 * hidden + 6 * 3 * keys
    assert taken[False] - taken[True] == 6 * hidden


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputed_norms_change_no_gradient(autocast, dropout):
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    llm = attach(build("llama", "sdpa")).train()
    for layer in llm.model.layers:
        nn.init.normal_(layer.input_layernorm.weight, 1.0, 0.3)
    config = LoraConfig(r=2, target_modules=["k_proj"], lora_dropout=dropout)
    llm = inject_adapter_in_model(config, llm).train()
    for name, parameter in llm.named_parameters():
        parameter.requires_grad_()
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    ids, mask, audio = a_batch("right")
    found = []
    for recomputed in (False, True):
        attach(llm, checkpoint_kv=recomputed)
        llm.zero_grad()
        features = audio.features.clone().requires_grad_()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            context = AudioContext(features, audio.mask)
            logits = llm(input_ids=ids, attention_mask=mask, audio=context).logits
        logits.float().square().mean().backward()
        found.append([features.grad, *(p.grad.clone() for p in llm.parameters())])
    for a, b in zip(*found, strict=True):
        close(a, b, 2e-2 if autocast else 1e-5)
