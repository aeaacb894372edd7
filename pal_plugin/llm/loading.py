"""Load a causal LM and its tokenizer from transformers, and put LoRA into it.

The LLM stays the class that transformers gives: LoRA is injected into its modules rather than
wrapped around it, so that `attach`, `generate` and the checkpoints see one and the same object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from pal_plugin.llm import prompts

_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"]
_FFN = ["gate_proj", "up_proj", "down_proj", "gate_up_proj"]
#: Linear layers by what a stage trains. peft takes those of the names that the LLM has; `qkv_proj`
#: and `gate_up_proj` are Phi-3's, the others are shared by all families that LAL knows.
LORA_TARGETS = {"attention": _ATTENTION, "attention_ffn": [*_ATTENTION, *_FFN]}


@dataclass(frozen=True)
class TextFormat:
    """A tokenizer together with the chat format."""

    tokenizer: PreTrainedTokenizerBase

    def prompt_ids(self, question: str) -> list[int]:
        """Token ids of the prompt, with the tokenizer's own BOS where it has one."""
        return self.tokenizer(prompts.prompt(question))["input_ids"]

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of the answer and the end mark."""
        ids = self.tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]

    def decode(self, ids) -> str:
        """Text of generated ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id


def load_llm(
    path: str, dtype: str = "float32", attn_implementation: str = "sdpa"
) -> tuple[nn.Module, TextFormat]:
    """Load weights and tokenizer from a folder or a hub name.

    Args:
        path: what `from_pretrained` takes.
        dtype: "float32", "bfloat16" or "float16".
        attn_implementation: "sdpa", "eager", "flash_attention_2" or "flex_attention".
    """
    llm = AutoModelForCausalLM.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation=attn_implementation
    )
    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return llm, TextFormat(tokenizer)


def add_lora(
    llm: nn.Module, targets: str = "attention", rank: int = 8, alpha: int = 16, dropout: float = 0.0
) -> nn.Module:
    """Inject LoRA adapters in place. Raises ValueError for an unknown set of targets."""
    if targets not in LORA_TARGETS:
        raise ValueError(f"unknown LoRA targets {targets!r}; known: {', '.join(LORA_TARGETS)}")
    from peft import LoraConfig, inject_adapter_in_model  # the core runs without it, but for LoRA

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=LORA_TARGETS[targets]
    )
    return inject_adapter_in_model(config, llm)
