"""What people do with an attached model besides calling it: pickle it, reuse its config, ask for
attention weights, an assistant model, half precision, prompt learning. Each works or says why not.
"""

import copy
import io
import pickle

import pytest
import torch
import transformers
from checks import Batch, close, differ, tiny
from families import VOCAB, build
from packaging.version import Version
from peft import (
    AdaLoraConfig,
    AdaptionPromptConfig,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)

from pal_plugin.attention import backends
from pal_plugin.attention.keys_values import precompute
from pal_plugin.integration import AudioContext, attach, detach, flamingo
from pal_plugin.llm.label_tree import cache_keyword

OPTIONS = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}


def prompt(batch):
    return {**batch.text, "audio": batch.audio(), **OPTIONS}


def one_clip(batch, row=0):
    heard = batch.heard(row)[None]
    audio = AudioContext(heard, torch.ones(heard.shape[:2], dtype=torch.bool))
    return {"input_ids": batch.ids[row, batch.valid(row)][None], "audio": audio}


@torch.no_grad()
@pytest.mark.parametrize("way", ["pickle", "torch.save"])
def test_an_attached_model_is_pickled_and_read_back(way):
    llm, batch = attach(tiny("llama")), Batch()
    torch.manual_seed(0)  # with these blocks other words come
    for block in flamingo.attach(llm, [1]).values():
        torch.nn.init.constant_(block.gate_attention, 0.7)
    both = {**prompt(batch), "cross_audio": batch.audio()}
    expected = llm.generate(**both)
    assert not torch.equal(llm.generate(**prompt(batch)), expected)
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(llm))
    else:
        file = io.BytesIO()
        torch.save(llm, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)  # a whole model, written just above
    assert torch.equal(twin.generate(**both), expected)
    for parameter in llm.parameters():
        parameter.zero_()  # the twin stands on its own
    assert torch.equal(twin.generate(**both), expected)
    detach(twin)
    assert "generate" in twin.__dict__  # Flamingo's
    flamingo.detach(twin)
    assert "generate" not in twin.__dict__


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_a_plain_model_from_the_config_of_an_attached_one(backend, tmp_path):
    llm, batch = attach(tiny("llama", backend)), Batch()
    plain = type(llm)(llm.config).eval()
    plain.load_state_dict(llm.state_dict())
    assert torch.equal(plain(**batch.text).logits, llm(**batch.text).logits)
    attach(plain)
    assert torch.equal(
        plain(**batch.text, audio=batch.audio()).logits,
        llm(**batch.text, audio=batch.audio()).logits,
    )
    llm.save_pretrained(tmp_path)
    again = type(llm).from_pretrained(tmp_path, attn_implementation=backend)
    assert torch.equal(again(**batch.text).logits, llm(**batch.text).logits)


@torch.no_grad()
@pytest.mark.parametrize("asked", ["call", "config", "before attach"])
def test_attention_weights_over_audio_and_text(asked, tmp_path):
    llm, batch = tiny("qwen3", "eager"), Batch()
    if asked == "before attach":
        llm.config.output_attentions = True
    attach(llm)
    if asked == "config":
        llm.config.output_attentions = True
    how = {"output_attentions": True} if asked == "call" else {}
    out = llm(**batch.text, audio=batch.audio(), **how)
    assert len(out.attentions) == 3
    for weights in out.attentions:
        assert weights.shape == (3, 4, 7, 6 + 7)
        close(weights.sum(-1), torch.ones(3, 4, 7))
        for row in range(3):
            read = weights[row][:, batch.valid(row), :6]
            assert not read[..., ~batch.audio_mask[row]].any()
    assert weights[0, :, :, :6].sum() > 0.1  # of the audio
    steps = llm.generate(
        **prompt(batch), output_attentions=True, return_dict_in_generate=True
    ).attentions
    assert [step[0].shape[-1] for step in steps] == [6 + 7 + i for i in range(5)]
    llm.save_pretrained(tmp_path)  # which validates the config


@torch.no_grad()
def test_an_assistant_model():
    batch = Batch(None)
    llm, other = attach(tiny("llama")), tiny("llama", seed=3)
    options = {**one_clip(batch), **OPTIONS, "eos_token_id": VOCAB, "max_new_tokens": 10}
    alone = llm.generate(**options)
    with pytest.raises(ValueError, match="is not attached for it: attach it"):
        llm.generate(**options, assistant_model=other)
    drafts = []
    other.model.layers[0].register_forward_pre_hook(lambda *_: drafts.append(1))
    together = llm.generate(**options, assistant_model=attach(other))
    assert torch.equal(together[:, : alone.shape[1]], alone)
    assert drafts
    clip = options["audio"]
    with torch.enable_grad():
        graph = AudioContext(2 * (clip.features.requires_grad_() / 2), clip.mask)
    for audio in (graph, precompute(llm, clip)):
        with torch.enable_grad():
            again = llm.generate(**{**options, "audio": audio}, assistant_model=other)
        assert torch.equal(again, together)
    small = attach(build("llama", "sdpa", seed=3, num_hidden_layers=2, num_key_value_heads=4))
    late = AudioContext(clip.features, clip.mask, {2})
    with pytest.raises(ValueError, match="assistant model, which is given the same audio, has 2"):
        llm.generate(**{**options, "audio": late}, assistant_model=small)
    narrow = attach(build("llama", "sdpa", hidden_size=16))
    with pytest.raises(ValueError, match="32 wide, the LLM is 16"):
        llm.generate(**options, assistant_model=narrow)
    text = {name: value for name, value in options.items() if name != "audio"}
    assert torch.equal(
        llm.generate(**text, assistant_model=tiny("llama", seed=3))[:, : alone.shape[1]],
        llm.generate(**text),
    )


@torch.no_grad()
def test_generating_within_another():
    """Drafts of the model's own first layers, and what is left behind."""
    llm = attach(tiny("llama"))
    batches = [Batch(None, seed=seed) for seed in range(4)]
    prompts = [{**one_clip(b), **OPTIONS, "eos_token_id": VOCAB} for b in batches]
    expected = [llm.generate(**p) for p in prompts]
    if Version(transformers.__version__).release[:2] != (5, 0):  # which cannot exit early at all
        early = llm.generate(**prompts[0], assistant_early_exit=2)
        assert torch.equal(early[:, : expected[0].shape[1]], expected[0])
    assert all(torch.equal(llm.generate(**p), e) for p, e in zip(prompts, expected, strict=True))
    assert llm.prepare_inputs_for_generation is llm.__dict__["prepare_inputs_for_generation"]


@torch.no_grad()
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("n", [7, 20])
def test_negative_scores_in_float16_make_no_nan(backend, n):
    """Below the smallest number of float16 lies -inf: a row that sees nothing became NaN, and
    through the keys and values of its column every row of its text."""
    llm = tiny("qwen2", backend)
    for layer in llm.model.layers:  # all scores around -100, by the pair that hardly rotates
        layer.self_attn.q_proj.bias[3::8] += 17
        layer.self_attn.k_proj.bias[3::8] -= 17
    half = attach(copy.deepcopy(llm).half())
    attach(llm)
    for padding in ("left", "right"):
        batch = Batch(padding, n)
        audio = AudioContext(batch.features.half(), batch.audio_mask)
        logits = half(**batch.text, audio=audio).logits
        batch.check(logits.float(), llm(**batch.text, audio=batch.audio()).logits, 0.1)
        tokens = half.generate(**{**prompt(batch), "audio": audio})
        assert (tokens[:, n:] > 0).any()
        some = AudioContext(batch.features.half(), batch.audio_mask, {1})  # and deaf layers
        logits, expected = (
            half(**batch.text, audio=some).logits.float(),
            llm(**batch.text, audio=batch.audio({1})).logits,
        )
        batch.check(logits, expected, 0.1)


def test_what_a_mask_adds_is_hidden_in_every_type():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        worst = torch.tensor([-3e4, 3e4], dtype=dtype)
        floor = torch.tensor(backends.hidden(dtype), dtype=dtype)
        assert (worst + floor).isfinite().all()
        scores = torch.tensor([0.0, 100.0], dtype=dtype) + torch.stack([floor * 0, floor])
        assert scores.float().softmax(0).tolist() == [1, 0]


LEARNED = {
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "p-tuning": PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8
    ),
}


@pytest.mark.parametrize("attach_first", [True, False])
@pytest.mark.parametrize("name", LEARNED)
def test_prompt_learning(name, attach_first):
    """Learned tokens stand in front of the text and hear the audio as the text does."""
    batch = Batch("left")
    llm = tiny("llama")
    if attach_first:
        attach(llm)
    torch.manual_seed(0)
    wrapped = get_peft_model(llm, LEARNED[name])
    if not attach_first:
        attach(wrapped)
    wrapped.eval()
    rows = wrapped(**batch.text, audio=batch.audio()).logits[:, -7:]
    rows.float().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in wrapped.parameters() if p.requires_grad)
    for row in range(2):
        alone = wrapped(
            **one_clip(batch, row), attention_mask=batch.mask[row, batch.valid(row)][None]
        )
        n = int(batch.valid(row).sum())
        close(rows[row, batch.valid(row)], alone.logits[0, -n:])
    if cache_keyword(llm.model) == "cache":
        with pytest.raises(ValueError, match="Use transformers below 5.24 or a newer peft"):
            wrapped.generate(**prompt(batch))
        return
    tokens = wrapped.generate(**prompt(batch))
    mask = torch.cat([batch.mask, torch.ones(3, 5, dtype=torch.long)], 1)
    whole = wrapped(input_ids=tokens, attention_mask=mask, audio=batch.audio()).logits
    assert torch.equal(whole[:, -6:-1].argmax(-1), tokens[:, 7:])
    differ(whole[:, -1], wrapped(input_ids=tokens, attention_mask=mask).logits[:, -1])


def test_attention_that_peft_wraps_or_copies():
    """AdaptionPrompt wraps the attention modules, `modules_to_save` copies them."""
    batch = Batch("left")
    config = AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=2, adapter_layers=2)
    llm = attach(tiny("llama"))
    plain = llm(**batch.text).logits
    wrapped = get_peft_model(llm, config).eval()  # its gates are 0
    expected = attach(tiny("llama"))(**batch.text, audio=batch.audio()).logits
    batch.check(wrapped(**batch.text, audio=batch.audio()).logits, expected)
    close(detach(wrapped)(**batch.text).logits, plain)
    with pytest.raises(TypeError, match="peft wrapped them .AdaptedAttention.; attach first"):
        attach(get_peft_model(tiny("llama"), config))

    llm = attach(tiny("llama"))
    saved = LoraConfig(target_modules=["up_proj"], modules_to_save=["self_attn"])
    wrapped = get_peft_model(llm, saved).eval()
    for layer in llm.model.layers:  # the copies read the norm that is in the layer
        torch.nn.init.constant_(layer.input_layernorm.weight, 2.0)
    alone = tiny("llama")
    for layer in alone.model.layers:
        torch.nn.init.constant_(layer.input_layernorm.weight, 2.0)
    expected = attach(alone)(**batch.text, audio=batch.audio()).logits
    batch.check(wrapped(**batch.text, audio=batch.audio()).logits, expected)


def test_projections_with_hooks_for_one_call_are_not_projected_again():
    """As peft's for tasks and adapters by row: in the backward pass they are gone."""
    batch, gradients = Batch(None), []
    for recomputed in (True, False):
        llm = attach(tiny("llama"), checkpoint_kv=recomputed)
        features = batch.features.clone().requires_grad_()
        hooks = [
            layer.self_attn.v_proj.register_forward_pre_hook(lambda _, args: (2 * args[0],))
            for layer in llm.model.layers
        ]
        loss = batch.loss(llm(**batch.text, audio=AudioContext(features, batch.audio_mask)).logits)
        for hook in hooks:
            hook.remove()
        gradients += [*torch.autograd.grad(loss, features)]
    close(*gradients)


def test_alora_is_refused():
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules=["k_proj"], alora_invocation_tokens=[3, 4]
    )
    llm, batch = get_peft_model(attach(tiny("llama")), config), Batch(None)
    batch.ids[:, 2:4] = torch.tensor([3, 4])
    with pytest.raises(ValueError, match="aLoRA changes the tokens behind its invocation"):
        llm(**batch.text, audio=batch.audio())


def test_adalora_trains_with_audio():
    config = AdaLoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["k_proj", "v_proj"],
        total_step=9,
        init_r=4,
        target_r=2,
    )
    llm = get_peft_model(attach(tiny("llama")), config).train()
    batch = Batch("right")
    batch.features = batch.features.requires_grad_()
    llm(**batch.text, audio=batch.audio()).logits.sum().backward()
    assert batch.features.grad[batch.audio_mask].abs().sum() > 0
    adapters = [p for n, p in llm.named_parameters() if "lora_B" in n]
    assert adapters
    assert all(p.grad is not None for p in adapters)


def test_the_attached_config_is_the_one_it_came_with():
    llm = tiny("llama")
    before = copy.deepcopy(llm.config.to_dict())
    config = llm.config
    attach(llm)
    assert llm.config is config
    assert llm.model.config is config
    assert config.to_dict() == before
    assert config._attn_implementation == "sdpa"
