"""A whole Whisper out of either kind of folder writes the same; small random ones here."""

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from pal_plugin.utils.errors import ConfigError

WORDS = ["yes", "no", "a", "b", "c"]
#: By number; what lies behind the last one would be a time.
VOCABULARY = ["<|endoftext|>", "<|startoftranscript|>", *WORDS, "<|notimestamps|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stock folder with its tokenizer."""
    path = tmp_path_factory.mktemp("whisper")
    sizes = {"d_model": 12, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
    tokens = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(3)
    model = WhisperForConditionalGeneration(
        WhisperConfig(**sizes, **heads, **tokens, decoder_start_token_id=1)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    model.generation_config = GenerationConfig(
        decoder_start_token_id=1,
        no_timestamps_token_id=7,
        eos_token_id=0,
        pad_token_id=0,
        is_multilingual=False,
        suppress_tokens=[3],
    )
    model.save_pretrained(path)
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens([word for word in VOCABULARY if "<" in word])
    words.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(31 * 16000), 16000)
    return path


def test_both_kinds_of_folder_write_the_same(script, folder, noise, tmp_path, monkeypatch):
    transcriber = script("transcriber")
    monkeypatch.setattr(transcriber, "MAX_TOKENS", 12)
    expected = transcriber.Transcriber(folder)(noise)
    assert set(expected.split()) <= set(WORDS) - {"no"}  # which is suppressed
    assert 1 <= len(expected.split()) <= 20  # of two windows

    monkeypatch.setattr(transcriber, "is_ctranslate2", lambda path: True)
    stored = load_file(folder / "model.safetensors")
    stored = {name.removeprefix("model."): value for name, value in stored.items()}

    def of_part(path, part="encoder"):
        return {name: value for name, value in stored.items() if name.startswith(part)}

    sizes = {"d_model": 12, "encoder_layers": 1, "encoder_ffn_dim": 8, "max_source_positions": 1500}
    sizes |= {"encoder_attention_heads": 2, "num_mel_bins": 80}
    monkeypatch.setattr(transcriber, "whisper_weights", of_part)
    monkeypatch.setattr(transcriber, "whisper_sizes", lambda path: sizes)
    monkeypatch.setattr(transcriber, "decoder_heads", lambda path: 2)
    (tmp_path / "config.json").write_text(json.dumps({"suppress_ids": [3]}))
    assert transcriber.Transcriber(tmp_path, folder / "tokenizer.json")(noise) == expected


def test_a_tokenizer_that_is_missing_or_foreign_is_named(script, folder, tmp_path):
    transcriber = script("transcriber")
    with pytest.raises(ConfigError, match=r"no .*tokenizer\.json: .*give it by --tokenizer"):
        transcriber.Transcriber(folder, tmp_path)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"not a Whisper tokenizer: it lacks <\|startoftran"):
        transcriber.Transcriber(folder, tmp_path)
