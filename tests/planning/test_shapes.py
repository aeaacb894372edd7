"""Where sizes come from: a config.json where it can be had, else the built-in shapes."""

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM, ClapConfig, WhisperConfig

from pal_plugin.config.zoo import type_section
from pal_plugin.encoders import build_encoder
from pal_plugin.planning import shapes
from pal_plugin.planning.shapes import encoder_sizes, llm_config
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import HubError

#: As the model cards count them, with embeddings once.
PARAMETERS = {
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
}


def unreachable(name, *_, **__):
    raise HubError(f"cannot fetch {name!r}.")


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(shapes, "snapshot", unreachable)


@pytest.mark.parametrize("name", PARAMETERS)
def test_built_in_shapes_have_the_published_number_of_parameters(no_hub, name):
    config, source = llm_config(name)
    assert "built-in sizes" in source
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config)
        llm.tie_weights()  # as planning.skeleton, for transformers 5.0
    assert sum(p.numel() for p in llm.parameters()) == PARAMETERS[name]


def test_a_folder_comes_first(tiny_llm):
    config, source = llm_config(tiny_llm)
    assert config.hidden_size == 32
    assert source == f"config.json of {tiny_llm}"


def test_encoders_take_their_sizes_from_the_folder_and_then_from_the_run_file(tmp_path, no_hub):
    assert encoder_sizes({"type": "sslam", "model": {"depth": 3}}) == ({"depth": 3}, None)
    sizes, source = encoder_sizes({"type": "whisper", "checkpoint": "openai/whisper-small"})
    assert (sizes["d_model"], sizes["encoder_layers"]) == (768, 12)
    assert source == "the built-in sizes of whisper-small (openai/whisper-small is not available)"
    sizes, source = encoder_sizes({"type": "sslam", "checkpoint": "somewhere/sslam.safetensors"})
    assert sizes == {}
    assert "does not exist yet" in source


def test_a_file_does_not_say_its_sizes(tmp_path):
    file = tmp_path / "whisper.safetensors"
    file.touch()
    sizes, source = encoder_sizes({"type": "whisper", "checkpoint": file, "model": {"d_model": 8}})
    assert sizes == {"d_model": 8}
    assert f"{file} does not contain them" in source


def test_a_folder_of_an_encoder(tmp_path):
    WhisperConfig(d_model=64, encoder_layers=3).save_pretrained(tmp_path)
    entry = {"type": "whisper", "checkpoint": str(tmp_path), "model": {"dropout": 0.1}}
    sizes, source = encoder_sizes(entry)
    assert (sizes["d_model"], sizes["encoder_layers"], sizes["dropout"]) == (64, 3, 0.1)
    assert source == f"{tmp_path} itself"
    ClapConfig(audio_config={"depths": [1, 1]}).save_pretrained(tmp_path / "clap")
    sizes, _ = encoder_sizes({"type": "clap", "checkpoint": str(tmp_path / "clap")})
    assert sizes == {"depths": [1, 1]}


@pytest.mark.parametrize("checkpoint", ["a folder", "openai/whisper-tiny"])
def test_a_plan_and_a_training_run_refuse_the_sizes_of_another_model(
    tmp_path, checkpoint, monkeypatch
):
    """The pocket's sizes of `model_type: lal`, and another Whisper."""
    pocket = type_section("lal")["encoders"]["whisper"]
    says = r"d_model 384, not 96, encoder_layers 4, not 3.*model: null"
    if checkpoint == "a folder":
        sizes = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6}
        WhisperConfig(**sizes, encoder_ffn_dim=1536).save_pretrained(tmp_path)
        checkpoint = str(tmp_path)
        with pytest.raises(ValueError, match=says):
            build_encoder(**{**pocket, "checkpoint": checkpoint})
    else:
        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ConfigError, match=f"encoder 'whisper': the checkpoint {checkpoint} has"):
        encoder_sizes({**pocket, "checkpoint": checkpoint})
    short = {"short_windows": True}
    sizes, _ = encoder_sizes({**pocket, "checkpoint": checkpoint, "model": short})
    assert (sizes["d_model"], sizes["max_source_positions"]) == (384, 250)


def test_unknown_sizes_are_an_error_that_names_what_is_known(no_hub):
    with pytest.raises(ConfigError, match=r"'acme/llm-9b' are unknown: .*llama-3\.2-1b"):
        llm_config("acme/llm-9b")
    with pytest.raises(ConfigError, match="'acme/whisper-huge' are unknown: .*whisper-small"):
        encoder_sizes({"type": "whisper", "checkpoint": "acme/whisper-huge"})
