"""A folder of a multimodal model (Gemma 3 from 4B on, Mistral 3) as an LLM: its text model."""

import shutil

import pytest
import torch
import transformers
from transformers import AutoTokenizer

from pal_plugin.llm.loading import load_llm, text_model
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.stages import parameter_counts
from pal_plugin.planning.skeleton import build_skeleton

VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.fixture(params=["gemma3", "ministral3", "mistral"])
def folder(request, tiny_llm, tmp_path):
    kind = request.param
    if kind not in transformers.CONFIG_MAPPING:
        pytest.skip(f"{kind} is newer than this transformers")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    text = {
        "model_type": "gemma3_text" if kind == "gemma3" else kind,
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 262144,
        "initializer_range": 0.15,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    torch.manual_seed(0)
    if kind == "gemma3":
        images = {"image_token_index": len(tokenizer), "boi_token_index": len(tokenizer) + 1}
        config = transformers.Gemma3Config(
            text_config=text,
            vision_config={**VISION, "model_type": "siglip_vision_model"},
            mm_tokens_per_image=4,
            eoi_token_index=len(tokenizer) + 2,
            **images,
        )
        llm = transformers.Gemma3ForConditionalGeneration(config)
    else:
        config = transformers.Mistral3Config(
            text_config=text,
            vision_config={**VISION, "model_type": "pixtral"},
            image_token_index=len(tokenizer),
        )
        llm = transformers.Mistral3ForConditionalGeneration(config)
    llm.save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def test_the_text_model_is_taken(folder):
    whole = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    llm, _ = load_llm(folder, attn_implementation="eager")
    assert type(llm).__name__ in (
        "Gemma3ForCausalLM",
        "Ministral3ForCausalLM",
        "MistralForCausalLM",
    )
    assert llm.config is llm.model.config
    assert llm.config._attn_implementation == "eager"
    assert not any("vision" in name for name, _ in llm.named_parameters())
    ids = torch.randint(1, 300, (2, 7))
    with torch.no_grad():
        ours, theirs = llm(input_ids=ids).logits, whole(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    tied = llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    heads = whole.get_output_embeddings().weight, whole.get_input_embeddings().weight
    assert tied == (heads[0] is heads[1]) == llm.config.tie_word_embeddings
    assert text_model(llm) is llm


@pytest.mark.parametrize("model_type", ["lal", "plits"])
def test_a_whole_model_on_it(folder, tiny_config, two_clips, tmp_path, model_type):
    cfg = {**tiny_config(model_type, llm="lora"), "llm": {"path": str(folder)}}
    torch.manual_seed(0)
    model = AudioLLM.from_config(cfg)
    model(two_clips)["loss"].backward()
    model.eval()
    planned = parameter_counts(build_skeleton(cfg).model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(trainable for trainable, _ in planned.values()) == trained
    answers = model.generate(two_clips, max_new_tokens=4)
    model.save_pretrained(tmp_path / "saved")
    again = AudioLLM.from_pretrained(tmp_path / "saved")
    assert again.generate(two_clips, max_new_tokens=4) == answers
    model.merge_lora().save_pretrained(tmp_path / "merged")
    shutil.rmtree(folder)  # the LLM is in the folder now
    merged = AudioLLM.from_pretrained(tmp_path / "merged")
    assert merged.generate(two_clips, max_new_tokens=4) == answers
