"""The LLMs of the paper's size: parameter counts, LAL on the meta device, and one real forward."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from pal_plugin.integration import AudioContext, attach

SIZES = {
    "llama3.2-1b": (
        "llama",
        {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
        | {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
        | {"tie_word_embeddings": True},
    ),
    "qwen2.5-1.5b": (
        "qwen2",
        {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
        | {"num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936}
        | {"tie_word_embeddings": True},
    ),
}
#: As the model cards count them, with embeddings once.
PARAMETERS = {"llama3.2-1b": 1_235_814_400, "qwen2.5-1.5b": 1_543_714_304}


def counted(kind, size):
    """Weights of a decoder, from its sizes."""
    d, kv = size["hidden_size"], size["num_key_value_heads"]
    kv_width = kv * d // size["num_attention_heads"]
    attention = 2 * d * d + 2 * d * kv_width + (d + 2 * kv_width if kind == "qwen2" else 0)
    layer = attention + 3 * d * size["intermediate_size"] + 2 * d
    return size["vocab_size"] * d + size["num_hidden_layers"] * layer + d


def llm_of(name, device, dtype=torch.bfloat16):
    kind, size = SIZES[name]
    config = AutoConfig.for_model(kind, **size)
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        llm.tie_weights()  # which transformers 5.0 leaves out on the meta device
        return llm


@pytest.mark.parametrize("name", SIZES)
def test_counts_on_the_meta_device(name):
    llm = attach(llm_of(name, "meta"))
    parameters = sum(p.numel() for p in llm.parameters())
    assert parameters == PARAMETERS[name] == counted(*SIZES[name])


@pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 1),
    reason="rotary positions of older transformers open autocast, which torch lacks on meta",
)
@pytest.mark.parametrize("name", SIZES)
def test_shapes_on_the_meta_device(name):
    llm = attach(llm_of(name, "meta")).eval()
    width = llm.config.hidden_size
    features = torch.zeros(2, 576, width, device="meta", dtype=torch.bfloat16)
    audio = AudioContext(features, torch.ones(2, 576, dtype=torch.bool, device="meta"))
    ids = torch.zeros(2, 40, dtype=torch.long, device="meta")
    with torch.no_grad():
        assert llm(input_ids=ids, audio=audio).logits.shape == (2, 40, llm.config.vocab_size)


@pytest.mark.slow
@torch.no_grad()
def test_one_forward_of_a_whole_model_at_full_size(tiny_llm, tmp_path):
    """Whisper small, CLAP, SSLAM base, LFST 64x8 and Llama 3.2 1B, random, in bfloat16: 5 GB."""
    from pal_plugin.models.audio_llm import AudioLLM

    torch.manual_seed(0)
    llm = llm_of("llama3.2-1b", "cpu")
    llm.save_pretrained(tmp_path)
    del llm
    model = AudioLLM.from_config(
        {
            "encoders": {
                "sslam": {"type": "sslam", "features": {"window_s": 10.0}},
                "clap": {"type": "clap", "features": {"window_s": 10.0}},
                "whisper": {
                    "type": "whisper",
                    "model": {
                        "d_model": 768,
                        "encoder_layers": 12,
                        "encoder_attention_heads": 12,
                        "encoder_ffn_dim": 3072,
                    },
                },
            },
            "connectors": {
                "general": {"type": "lfst", "encoders": ["sslam", "clap"]},
                "speech": {"type": "mlp", "encoders": ["whisper"], "args": {"pool": 17}},
            },
            "routing": {
                "general": {"integration": "lal"},
                "speech": {"integration": "plits"},
            },
            "llm": {"path": str(tmp_path), "tokenizer": tiny_llm, "dtype": "bfloat16"},
            "stage": {"connectors": "frozen"},
        }
    )
    model = model.to(torch.bfloat16).eval()
    clips = [
        (0.1 * torch.randn(s, generator=torch.Generator().manual_seed(s)).numpy(), 16_000)
        for s in (40_000, 160_000)
    ]
    samples = {"audio": clips, "text_input": ["What?", "Who?"], "text_output": ["bell", "rain"]}
    encoded = model.encode_audio(samples)
    assert encoded["general"].features.shape == (2, 576, 2048)
    assert encoded["speech"].features.shape == (2, 30, 2048)  # 500 of Whisper's 1500 states
    loss = model(samples)["loss"]
    assert loss.isfinite()
    deaf = model({**samples, "audio_mask": torch.zeros(2, dtype=torch.bool)})["loss"]
    assert loss != deaf
