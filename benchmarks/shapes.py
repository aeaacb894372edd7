"""LLM shapes by name; weights are random, since cost and memory do not depend on them.

Legend for all benchmarks: B batch, n text tokens, m audio tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, PretrainedConfig, Qwen2Config

_CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config}


@dataclass(frozen=True)
class Shape:
    """The sizes that determine the cost of an LLM. Input and output embeddings are tied.

    Args:
        family: "llama" or "qwen2".
        ffn: width of the gated FFN.
        train_batch: default number of rows of a training step.
        inference_batch: default number of rows of a prompt.
    """

    family: str
    layers: int
    width: int
    heads: int
    key_heads: int
    ffn: int
    vocab: int
    train_batch: int = 8
    inference_batch: int = 12

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def config(self) -> PretrainedConfig:
        """The transformers configuration, without an end token, so that all generate as many."""
        return _CONFIGS[self.family](
            vocab_size=self.vocab,
            hidden_size=self.width,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            max_position_embeddings=131_072,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )


SHAPES = {
    "llama3.2-1b": Shape("llama", 16, 2048, 32, 8, 8192, 128_256),
    "llama3.2-3b": Shape("llama", 28, 3072, 24, 8, 8192, 128_256),
    "qwen2.5-1.5b": Shape("qwen2", 28, 1536, 12, 2, 8960, 151_936),
    "cpu": Shape("llama", 8, 384, 6, 2, 1536, 2048, train_batch=2, inference_batch=2),
}

#: Types of training and of inference: the paper's on a GPU, the only fast one on a CPU.
DTYPES = {
    "cpu": (torch.float32, torch.float32),
    "cuda": (torch.bfloat16, torch.float16),
}
