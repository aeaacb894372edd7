"""peft's tuners on an LLM that hears: merged, switched off, saved and loaded, mixed in a batch."""

import peft
import pytest
import torch
from checks import Batch, close, differ, tiny

from pal_plugin.attention.recompute import saves_its_input
from pal_plugin.integration import AudioContext, attach, detach

#: A window would hide the audio from the stock model.
FAR = {"window": 100}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
#: By the name of the config's class without "Config". "merge" is False where peft has none.
TUNERS = {
    "Lora": {"r": 4},
    "Lora dropout": {"r": 4, "lora_dropout": 0.1},
    "Lora dora": {"r": 4, "use_dora": True},
    "Lora rslora": {"r": 4, "use_rslora": True},
    "AdaLora": {"init_r": 4, "target_r": 2, "total_step": 10},
    "IA3": {"feedforward_modules": []},
    "LoHa": {"r": 4},
    "LoKr": {"r": 4},
    "OFT": {"r": 0, "oft_block_size": 4},
    "BOFT": {"boft_block_size": 4},
    "Vera": {"r": 4},
    "HRA": {"r": 4},
    "FourierFT": {"n_frequency": 16},
    "VBLoRA": {"r": 2, "num_vectors": 8, "vector_length": 4, "topk": 2},
    "RandLora": {"r": 4},
    "Miss": {"r": 4},
    "Shira": {"r": 2},
    "C3A": {"block_size": 4},
    "Road": {"group_size": 4},
    "LNTuning": {"target_modules": ["input_layernorm", "post_attention_layernorm"]},
}
#: Of these, those whose adapters may differ from row to row of a batch.
MIXED = ("Lora", "Lora dropout", "Road")
FAMILIES = ("llama", "qwen3", "gemma", "granite", "qwen3_moe", "mixtral")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


def config_of(name):
    cls = getattr(peft, f"{name.split()[0]}Config", None)
    if cls is None:
        pytest.skip(f"this peft has no {name}")
    return cls(task_type="CAUSAL_LM", **{"target_modules": TARGETS, **TUNERS[name]})


def randomise(llm, adapter, seed):
    """Fresh adapters change nothing, and would not be seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in llm.named_parameters():
            if parameter.requires_grad and adapter in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return llm


def adapted(name, family, seed=7):
    torch.manual_seed(0)
    llm = peft.get_peft_model(tiny(family, **FAR), config_of(name))
    return attach(randomise(llm, "default", seed)).eval()


def logits(llm, batch, **kwargs):
    with torch.no_grad():
        return llm(**batch.text, audio=batch.audio(), **kwargs).logits


def stock(llm, batch, row):
    """LAL by definition: the whole model, its audio rows reset before every layer, no `attach`."""
    detach(llm)
    audio, ids = batch.heard(row)[None], batch.ids[row, batch.valid(row)][None]
    m = audio.shape[1]

    def reset(_, args):
        return (torch.cat([audio, args[0][:, m:]], 1), *args[1:])

    decoder = llm.get_base_model().get_decoder()
    hooks = [layer.register_forward_pre_hook(reset) for layer in decoder.layers]
    embeds = torch.cat([audio, llm.get_input_embeddings()(ids)], 1)
    with torch.no_grad():
        out = llm(inputs_embeds=embeds, use_cache=False).logits[0, m:]
    for hook in hooks:
        hook.remove()
    attach(llm)
    return out


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", TUNERS)
def test_a_tuner_with_audio(name, family, tmp_path):
    llm, batch = adapted(name, family), Batch("left")
    expected = logits(llm, batch)
    for row in range(2):
        close(expected[row, batch.valid(row)], stock(llm, batch, row), 1e-4)
    base = logits(attach(tiny(family, **FAR)), batch)
    differ(expected, base)

    with llm.disable_adapter():
        close(logits(llm, batch), base, 1e-4)
    close(logits(llm, batch), expected, 1e-5)

    llm.save_pretrained(tmp_path)
    loaded = attach(peft.PeftModel.from_pretrained(tiny(family, **FAR), tmp_path)).eval()
    close(logits(loaded, batch), expected, 1e-5)

    llm.train()
    batch.features = batch.features.nan_to_num().requires_grad_()
    batch.loss(llm(**batch.text, audio=batch.audio()).logits).backward()
    assert batch.features.grad[batch.audio_mask].abs().sum() > 0
    trained = [p for p in llm.parameters() if p.requires_grad]
    assert trained
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)

    merged = llm.eval().merge_and_unload()
    batch.features = batch.features.detach()
    close(logits(merged, batch), expected, 1e-3)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("name", MIXED)
def test_other_adapters_in_each_row(name, family):
    llm, batch = adapted(name, family), Batch("left")
    llm.add_adapter("other", config_of(name))
    llm.set_adapter("other")
    randomise(llm, "other", seed=8)
    llm.eval()
    by_adapter = {}
    for adapter in ("default", "other"):
        llm.set_adapter(adapter)
        by_adapter[adapter] = logits(llm, batch)
    with llm.disable_adapter():
        by_adapter["__base__"] = logits(llm, batch)
    names = ["other", "__base__", "default"]
    rows = logits(llm, batch, adapter_names=names)
    for row, adapter in enumerate(names):
        valid = batch.valid(row)
        close(rows[row, valid], by_adapter[adapter][row, valid], 1e-4)
    differ(by_adapter["default"], by_adapter["other"])
    tokens = llm.generate(
        **batch.text,
        audio=batch.audio(),
        adapter_names=names,
        max_new_tokens=3,
        do_sample=False,
        pad_token_id=0,
    )
    assert torch.equal(tokens[:, 7], rows[:, -1].argmax(-1))

    # Rows of other adapters about one clip, and beams.
    one = AudioContext(batch.heard(0)[None], torch.ones(1, len(batch.heard(0))).bool())
    many = AudioContext(one.features.expand(3, -1, -1), one.mask.expand(3, -1))
    options = {**batch.text, "adapter_names": names}
    with torch.no_grad():
        shared, apart = (llm(**options, audio=audio).logits for audio in (one, many))
    close(shared[batch.mask.bool()], apart[batch.mask.bool()], 1e-4)
    if name == "Road":  # whose beams fail without audio too
        return
    beams = {"num_beams": 2, "max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    found = [llm.generate(**options, **beams, audio=audio) for audio in (one, many)]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", TUNERS)
def test_only_plain_projections_are_recomputed_by_their_input(name):
    """Other tuners save more than their input, or change it first."""
    attention = adapted(name, "llama").get_base_model().model.layers[0].self_attn
    expected = name in ("Lora", "Lora rslora", "LNTuning")
    assert saves_its_input(attention.k_proj) == expected
