"""Where sizes come from: a config.json where it can be had, else the built-in shapes."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, WhisperConfig

from pal_plugin.planning import shapes
from pal_plugin.planning.shapes import encoder_sizes, llm_config
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import HubError

#: As the model cards count them, with embeddings once.
PARAMETERS = {
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
}


@pytest.fixture
def no_hub(monkeypatch):
    def unreachable(name, patterns):
        raise HubError(f"cannot fetch {name!r}.")

    monkeypatch.setattr(shapes, "snapshot", unreachable)


@pytest.mark.parametrize("name", PARAMETERS)
def test_built_in_shapes_have_the_published_number_of_parameters(no_hub, name):
    config, source = llm_config(name)
    assert "built-in shape" in source
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
    assert source == "the built-in shape whisper-small"
    sizes, source = encoder_sizes({"type": "sslam", "checkpoint": "somewhere/sslam.safetensors"})
    assert sizes == {}
    assert "not there yet" in source


def test_a_folder_of_an_encoder(tmp_path):
    WhisperConfig(d_model=64, encoder_layers=3).save_pretrained(tmp_path)
    sizes, source = encoder_sizes(
        {"type": "whisper", "checkpoint": str(tmp_path), "model": {"encoder_layers": 2}}
    )
    assert (sizes["d_model"], sizes["encoder_layers"]) == (64, 2)
    assert source == f"config.json of {tmp_path}"
    (tmp_path / "config.json").write_text(json.dumps({"audio_config": {"depths": [1, 1]}}))
    assert encoder_sizes({"type": "clap", "checkpoint": str(tmp_path)})[0] == {"depths": [1, 1]}


def test_unknown_sizes_are_an_error_that_names_what_is_known(no_hub):
    with pytest.raises(ConfigError, match=r"'acme/llm-9b' are not known: .*llama-3\.2-1b"):
        llm_config("acme/llm-9b")
    with pytest.raises(ConfigError, match="'acme/whisper-huge' are not known: .*whisper-small"):
        encoder_sizes({"type": "whisper", "checkpoint": "acme/whisper-huge"})
