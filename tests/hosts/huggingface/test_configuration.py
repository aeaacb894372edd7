"""config.json of a folder, as transformers reads and writes it."""

import json

import pytest
from transformers import AutoConfig

import pal_plugin.hosts.huggingface  # noqa: F401 - registers
from pal_plugin.hosts.huggingface.configuration import PalConfig


@pytest.mark.slow
def test_every_key_survives_reading_and_writing(stored, tmp_path):
    _, folder = stored()
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is PalConfig
    assert config.get_text_config().hidden_size == 32
    config.save_pretrained(tmp_path / "again")
    before, after = (
        json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "again")
    )
    kept = before.keys() - {"text_config"}
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    again = AutoConfig.from_pretrained(tmp_path / "again")
    assert again.text_config.to_dict() == config.text_config.to_dict()


def test_an_empty_one_can_be_built():
    assert PalConfig().text_config.model_type == "llama"
    assert PalConfig(text_config={"model_type": "qwen2"}).text_config.model_type == "qwen2"
    assert PalConfig(model={"llm": {"path": "x"}}).model == {"llm": {"path": "x"}}
