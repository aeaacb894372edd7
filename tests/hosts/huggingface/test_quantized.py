"""LLMs in 8 and 4 bit by bitsandbytes, loaded by transformers' arguments and by ours.

The independent reference is a float32 LLM that holds the weights as bitsandbytes restores them:
whatever reads them otherwise, LAL's keys and values included, gives other logits. Not bit for bit:
8 bit rounds the states too, and 4 bit computes in bfloat16 on CPUs that have it.
"""

import copy
import importlib.util

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, LlamaForCausalLM

from pal_plugin.attention.keys_values import precompute
from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration
from pal_plugin.integration import check_family
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed (pip install bitsandbytes)",
)

#: Layer, and the least cosine of the logits with those of the float32 LLM, of random weights.
QUANTIZED = {"8bit": ("Linear8bitLt", 0.995), "4bit": ("Linear4bit", 0.8)}


def config_of(bits):
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )


@pytest.fixture
def wide_config(tiny_config, tiny_llm, tmp_path):
    """`tiny_config` on an LLM of widths that 4 bit takes on a CPU, multiples of 64."""

    def make(model_type, quantize=None, **stage):
        folder = tmp_path / "wide_llm"
        if not folder.exists():
            config = AutoConfig.from_pretrained(tiny_llm)
            config.hidden_size, config.intermediate_size, config.head_dim = 128, 256, 32
            torch.manual_seed(0)
            LlamaForCausalLM(config).save_pretrained(folder)
            AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(folder)
        llm = {"path": str(folder), "quantize": quantize}
        return {**tiny_config(model_type, **stage), "llm": llm}

    return make


@pytest.fixture
def wide_folder(wide_config, tmp_path):
    """`wide_folder("lal")` -> the folder of a model with that LLM in float32."""

    def make(model_type):
        torch.manual_seed(0)
        model = AudioLLM.from_config(wide_config(model_type)).eval()
        return model.save_pretrained(tmp_path / "float")

    return make


def linears(llm):
    """The quantized layers by name."""
    kinds = {kind for kind, _ in QUANTIZED.values()}
    return {name: m for name, m in llm.named_modules() if type(m).__name__ in kinds}


def weight_of(linear):
    """A layer's weight as bitsandbytes restores it; before its first call, which moves the parts
    elsewhere or repacks them."""
    import bitsandbytes

    weight = linear.weight
    assert not weight.is_floating_point()
    if isinstance(linear, bitsandbytes.nn.Linear8bitLt):
        return bitsandbytes.functional.int8_vectorwise_dequant(weight.data, weight.SCB).float()
    return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state).float()


def dequantized(model, plain):
    """The model `plain`, its LLM's weights replaced by those of `model`."""
    model_of = copy.deepcopy(plain)
    for name, linear in linears(model.audio_llm.llm).items():
        stock = model_of.audio_llm.llm.get_submodule(name)
        assert type(stock) is nn.Linear
        stock.weight.data.copy_(weight_of(linear))
    return model_of


def prompts(model, talks):
    made = model.processor().apply_chat_template(talks, tokenize=True, return_dict=True)
    return made.to(model.device)


def cosine(one, other):
    return float(nn.functional.cosine_similarity(one.flatten(), other.flatten(), 0))


@pytest.mark.slow
@pytest.mark.parametrize("bits", QUANTIZED)
@pytest.mark.parametrize("model_type", ["lal", "plits"])
@torch.no_grad()
def test_logits_are_those_of_the_dequantized_weights(wide_folder, talks, model_type, bits):
    kind, least = QUANTIZED[bits]
    folder = wide_folder(model_type)
    plain = PalForConditionalGeneration.from_pretrained(folder)
    model = PalForConditionalGeneration.from_pretrained(folder, quantization_config=config_of(bits))
    layers = linears(model.audio_llm.llm)
    assert len(layers) == 3 * 7  # of each of 3 layers, all projections
    assert {type(layer).__name__ for layer in layers.values()} == {kind}
    assert not linears(plain.audio_llm.llm)

    made, rounded = prompts(model, talks), dequantized(model, plain)
    logits = model(**made).logits
    near, far = (cosine(logits, other(**made).logits) for other in (rounded, plain))
    assert near > 0.999
    assert near > far > least
    model.generate(**made, max_new_tokens=4)
    check_family(model.audio_llm.llm)  # every layer is LAL: stock, its audio set back to H

    ours = AudioLLM.from_pretrained(folder, quantize=bits)
    theirs = PalForConditionalGeneration.of(ours)
    assert torch.equal(theirs(**made).logits, logits)
    said = ours.generate({"messages": talks}, max_new_tokens=4)
    assert said == model.audio_llm.generate({"messages": talks}, max_new_tokens=4)


@pytest.mark.slow
@pytest.mark.parametrize("bits", QUANTIZED)
@torch.no_grad()
def test_keys_and_values_of_the_audio_are_those_of_the_quantized_layers(wide_folder, bits):
    """LAL calls k_proj and v_proj, whose `weight` holds packed integers."""
    folder = wide_folder("lal")
    model, plain = (
        AudioLLM.from_pretrained(folder, **kwargs) for kwargs in ({"quantize": bits}, {})
    )
    generator = torch.Generator().manual_seed(0)
    clip = (0.1 * torch.randn(9_000, generator=generator).numpy(), 16_000)
    heard = model.encode(clip, store="features").routed.audio
    weights = {name: weight_of(linear) for name, linear in linears(model.decoder).items()}
    found = precompute(model.llm, heard).clip_kv
    for index, layer in enumerate(model.decoder.layers):
        normed = layer.input_layernorm(heard.features)
        for tensor, name in zip(found[index], ("k_proj", "v_proj"), strict=True):
            mine = tensor.transpose(1, 2).flatten(2)  # [1, m, key heads * head size]
            rounded = nn.functional.linear(normed, weights[f"layers.{index}.self_attn.{name}"])
            exact = getattr(plain.decoder.layers[index].self_attn, name)(normed)
            near, far = (cosine(mine, other) for other in (rounded, exact))
            assert near > 0.9999
            assert near > far > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("bits", QUANTIZED)
def test_a_quantized_model_is_saved_and_loaded(wide_folder, talks, tmp_path, bits):
    """By reference: the base LLM is quantized again; its own weights are in no folder of ours."""
    folder = wide_folder("lal")
    model = PalForConditionalGeneration.from_pretrained(folder, quantization_config=config_of(bits))
    made = prompts(model, talks)
    with torch.no_grad():
        logits = model(**made).logits
        plain = PalForConditionalGeneration.from_pretrained(folder)(**made).logits
    model.save_pretrained(tmp_path / "saved")
    with torch.no_grad():
        again = PalForConditionalGeneration.from_pretrained(tmp_path / "saved")
        assert len(linears(again.audio_llm.llm)) == 21
        assert torch.equal(again(**made).logits, logits)
        back = AudioLLM.from_pretrained(tmp_path / "saved", quantize=None)
        assert torch.equal(PalForConditionalGeneration.of(back)(**made).logits, plain)
    with pytest.raises(CheckpointError, match="this one is quantized; whole=False"):
        model.save_pretrained(tmp_path / "whole", whole=True)


@pytest.mark.slow
@pytest.mark.parametrize("bits", QUANTIZED)
def test_adapters_are_trained_on_a_quantized_llm(wide_config, two_clips, tmp_path, bits):
    """`llm.quantize` of a recipe, with LoRA: one step, saved and loaded."""
    torch.manual_seed(0)
    model = AudioLLM.from_config(wide_config("pal", quantize=bits, llm="lora"))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_B" in name for name in trained)
    before = {name: p.detach().clone() for name, p in trained.items()}
    step = torch.optim.SGD(trained.values(), lr=0.1)
    model(two_clips)["loss"].backward()
    step.step()
    moved = {name for name, p in trained.items() if not torch.equal(p, before[name])}
    assert any("k_proj.lora_B" in name for name in moved)
    assert any(name.startswith("connectors.") for name in moved)
    model.eval()
    with torch.no_grad():
        loss = model(two_clips)["per_row_loss"]
        again = AudioLLM.from_pretrained(model.save_pretrained(tmp_path / "saved"))
        assert torch.equal(again(two_clips)["per_row_loss"], loss)


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("bits", QUANTIZED)
@torch.no_grad()
def test_on_a_gpu(wide_folder, talks, bits):
    # Never run so far: no machine with a GPU was at hand when it was written.
    folder = wide_folder("lal")
    on_gpu = {"device_map": "auto"}
    model = PalForConditionalGeneration.from_pretrained(
        folder, quantization_config=config_of(bits), **on_gpu
    )
    plain = PalForConditionalGeneration.from_pretrained(folder, **on_gpu)
    kind, least = QUANTIZED[bits]
    assert {type(layer).__name__ for layer in linears(model.audio_llm.llm).values()} == {kind}
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    made = prompts(model, talks)
    assert cosine(model(**made).logits, plain(**made).logits) > least
    new = model.generate(**made, max_new_tokens=4)
    assert new.shape[1] > made["input_ids"].shape[1]
