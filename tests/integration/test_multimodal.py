"""The text model inside a multimodal one (Gemma 3 from 4B on, Mistral 3 around Ministral 3)."""

import copy

import pytest
import torch
import transformers
from checks import Batch, close, differ
from families import COMMON, VOCAB

from pal_plugin.integration import attach, check_family, detach
from pal_plugin.llm.label_tree import supports_tree

OPTIONS = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
TEXT = {**COMMON, "head_dim": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
IMAGES = VOCAB - 4  # ids from here on stand for images
WINDOWS = {
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


def multimodal(kind):
    if kind == "gemma3":
        config = transformers.Gemma3Config(
            text_config={**TEXT, **WINDOWS, "model_type": "gemma3_text"},
            vision_config={**VISION, "model_type": "siglip_vision_model"},
            mm_tokens_per_image=4,
            image_token_index=IMAGES,
            boi_token_index=IMAGES + 1,
            eoi_token_index=IMAGES + 2,
        )
        made = transformers.Gemma3ForConditionalGeneration
    elif kind in transformers.CONFIG_MAPPING:
        config = transformers.Mistral3Config(
            text_config={**TEXT, "model_type": kind, "max_position_embeddings": 262144},
            vision_config={**VISION, "model_type": "pixtral"},
            image_token_index=IMAGES,
        )
        made = transformers.Mistral3ForConditionalGeneration
    else:
        pytest.skip(f"{kind} is newer than this transformers")
    torch.manual_seed(0)
    llm = made(config).eval()
    with torch.no_grad():
        for parameter in llm.get_decoder().parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return llm


def a_batch(padding):
    batch = Batch(padding)
    batch.ids %= IMAGES
    return batch


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gemma3", "ministral3", "mistral"])
def test_the_text_model_inside_a_multimodal_one_hears(kind):
    """As the same text model does that stands alone."""
    llm = multimodal(kind)
    plain = copy.deepcopy(llm)
    alone = transformers.AutoModelForCausalLM.from_config(llm.config.get_text_config()).eval()
    alone.model.load_state_dict(llm.get_decoder().state_dict())
    alone.lm_head.load_state_dict(llm.lm_head.state_dict())
    attach(llm)
    attach(alone)
    for padding in ("left", "right", None):
        batch = a_batch(padding)
        assert torch.equal(llm(**batch.text).logits, plain(**batch.text).logits)
        ours, expected = (m(**batch.text, audio=batch.audio()).logits for m in (llm, alone))
        for row in range(3):
            close(ours[row, batch.valid(row)], expected[row, batch.valid(row)])
        differ(ours[0], plain(**batch.text).logits[0])
    batch = a_batch("left")
    prompt = {**batch.text, "audio": batch.audio(), **OPTIONS}
    assert torch.equal(llm.generate(**prompt), alone.generate(**prompt))
    assert check_family(llm) < 1e-5
    assert supports_tree(llm)
    detach(llm)
    for ours, theirs in zip(llm.modules(), plain.modules(), strict=True):
        assert ours.__dict__.keys() == theirs.__dict__.keys()
    assert torch.equal(llm(**batch.text).logits, plain(**batch.text).logits)
