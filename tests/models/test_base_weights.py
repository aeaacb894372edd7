"""A saved model refuses other base weights, by name."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError


def changed(tiny_llm, folder, **settings):
    """A copy of the tiny LLM whose config.json differs."""
    shutil.copytree(tiny_llm, folder)
    config = json.loads((folder / "config.json").read_text()) | settings
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_another_base_model_is_refused_by_name(trained, tiny_llm, tmp_path):
    folder = trained(llm="lora").save_pretrained(tmp_path / "model")
    base = AutoModelForCausalLM.from_pretrained(tiny_llm)
    with torch.no_grad():
        base.model.layers[1].mlp.up_proj.weight.mul_(1.05)
    base.save_pretrained(tmp_path / "tuned")
    with pytest.raises(CheckpointError) as error:
        AudioLLM.from_pretrained(folder, llm=str(tmp_path / "tuned"))
    assert f"llm of {tiny_llm}, but {tmp_path / 'tuned'} has other weights" in str(error.value)
    # Versions of transformers keep another number of buffers.
    told = r"1 of 3\d tensors differ, the first is llm\.model\.layers\.1\.mlp\.up_proj\.weight"
    assert re.search(told, str(error.value))
    base.config.num_hidden_layers = 2
    LlamaForCausalLM(base.config).save_pretrained(tmp_path / "short")
    with pytest.raises(CheckpointError, match=r"\(llama, 3 layers.*\(llama, 2 layers"):
        AudioLLM.from_pretrained(folder, llm=str(tmp_path / "short"))


def test_a_base_that_differs_in_vectors_or_settings_is_refused(trained, tiny_llm, tmp_path):
    folder = trained().save_pretrained(tmp_path / "model")
    base = AutoModelForCausalLM.from_pretrained(tiny_llm)
    with torch.no_grad():
        base.model.norm.weight.mul_(3)
    base.save_pretrained(tmp_path / "norm")
    with pytest.raises(CheckpointError, match=r"1 of 3\d tensors differ.*llm\.model\.norm\.weight"):
        AudioLLM.from_pretrained(folder, llm=str(tmp_path / "norm"))
    rope = {"rope_theta": 500.0, "rope_type": "default"}
    other = changed(tiny_llm, tmp_path / "rope", rope_parameters=rope, rope_theta=500.0)
    with pytest.raises(CheckpointError, match="inv_freq"):
        AudioLLM.from_pretrained(folder, llm=other)
    other = changed(
        tiny_llm, tmp_path / "eps", rms_norm_eps=1e-2, num_attention_heads=8, head_dim=4
    )
    with pytest.raises(
        CheckpointError, match="num_attention_heads 8 instead of 4, head_dim 4 .*eps"
    ):
        AudioLLM.from_pretrained(folder, llm=other)


def test_the_right_base_is_taken_in_float16(tiny_llm, trained, tmp_path):
    # Small numbers, as large models have: in float16 the least of them have few digits.
    base = AutoModelForCausalLM.from_pretrained(tiny_llm)
    with torch.no_grad():
        base.model.layers[0].mlp.up_proj.weight.mul_(1e-5)
    small = tmp_path / "small"
    base.save_pretrained(small)
    AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(small)
    model = trained()
    model.llm.load_state_dict(base.state_dict())
    folder = model.save_pretrained(tmp_path / "model")
    half = AudioLLM.from_pretrained(folder, llm=str(small), dtype="float16")
    assert half.llm.dtype == torch.float16


def test_another_encoder_is_refused_by_name(trained, two_clips, tmp_path):
    model = trained()
    sslam = tmp_path / "sslam.safetensors"
    save_file(model.encoders["sslam"].state_dict(), sslam)
    model.config["encoders"]["sslam"]["checkpoint"] = str(sslam)
    folder = model.save_pretrained(tmp_path / "model")
    assert not any(
        name.startswith("encoders.sslam") for name in load_file(folder / "model.safetensors")
    )
    again = AudioLLM.from_pretrained(folder)
    assert torch.equal(again(two_clips)["loss"], model(two_clips)["loss"])
    state = {name: 2 * tensor for name, tensor in load_file(sslam).items()}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"encoders\.sslam of .*other\.safetensors has oth"):
        AudioLLM.from_pretrained(folder, encoders={"sslam": str(tmp_path / "other.safetensors")})
    with pytest.raises(CheckpointError, match=r"not 'beats'"):
        AudioLLM.from_pretrained(folder, encoders={"beats": "x"})
