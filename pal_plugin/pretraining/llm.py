"""Pretrain the pocket LLM: a Llama with its own BPE, on the sound world's text.

The text describes a scene in words and then answers questions about it, so the LLM learns what an
answer follows from before it ever hears anything; a connector has then only to say in vectors what
the description said in words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pal_plugin.llm.prompts import END, PAD, SPECIAL_TOKENS
from pal_plugin.pretraining.loop import fit
from pal_plugin.soundworld import text_corpus


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the marks of the chat format as special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=1024
    )


def packed_batches(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerFast, batch: int, length: int
) -> Iterator[Tensor]:
    """Endless `[batch, length]` ids: texts one after the other, separated by the end mark."""
    ids: list[int] = []
    while True:
        while len(ids) < batch * length:
            chunk = tokenizer(list(itertools.islice(texts, 256)))["input_ids"]
            ids += [token for text in chunk for token in [tokenizer.eos_token_id, *text]]
        yield torch.tensor(ids[: batch * length]).view(batch, length)
        ids = ids[batch * length :]


def pretrain_llm(
    out: Path,
    *,
    model: dict,
    vocab_size: int = 800,
    tokenizer_texts: int = 20_000,
    steps: int = 3000,
    batch: int = 24,
    length: int = 256,
    lr: float = 2e-3,
    bf16: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Train tokenizer and LLM and save both to `out` with `save_pretrained` (float16).

    Args:
        out: folder to write.
        model: keyword arguments of `LlamaConfig`.

    Returns:
        Loss per token at the end of training, in nats.
    """
    torch.manual_seed(seed)
    texts = text_corpus(seed)
    tokenizer = train_tokenizer(itertools.islice(texts, tokenizer_texts), vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        **model,
    )
    llm = LlamaForCausalLM(config)
    batches = packed_batches(texts, tokenizer, batch, length)
    loss = fit(
        llm,
        batches,
        lambda ids: llm(input_ids=ids, labels=ids).loss,
        steps=steps,
        lr=lr,
        weight_decay=0.05,
        bf16=bf16,
        label="pocket LLM",
    )
    tokenizer.save_pretrained(out)
    llm.half().save_pretrained(out)
    return {"loss": loss}
