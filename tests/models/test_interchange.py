"""The files that Hugging Face's loaders look for, in every folder that a model is saved to."""

import json

from transformers import GenerationConfig

from pal_plugin.models import interchange


def test_the_files_name_classes_front_ends_and_defaults(tiny_model, tiny_config, tmp_path):
    model, section = tiny_model("pal"), tiny_config("pal")
    model.audio_place = "inline"
    interchange.write(model, section, tmp_path)
    facts = json.loads((tmp_path / "processor_config.json").read_text())
    assert facts["processor_class"] == "PalProcessor"
    assert facts["encoders"]["whisper"] == {"type": "whisper", "features": {"window_s": 1.28}}
    assert (facts["prompt"], facts["system"], facts["audio_place"]) == ("chat", None, "inline")
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert generation.eos_token_id == model.text.end_ids
    assert generation.pad_token_id == model.text.pad_id
    assert (generation.do_sample, generation.max_new_tokens) == (False, 48)


def test_the_config_knows_its_llm_and_no_path_of_this_machine(tiny_model, tiny_llm):
    facts = interchange.config_facts(tiny_model("lal"))
    assert facts["model_type"] == "pal"
    assert facts["text_config"]["model_type"] == "llama"
    assert facts["text_config"]["hidden_size"] == 32
    assert tiny_llm not in json.dumps(facts)
