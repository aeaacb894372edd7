"""Pretrains the pocket LLM: a Llama with its own BPE, on text about the sound world.

The text describes a scene and then answers questions about it, so the LLM learns the tasks before
it gets audio; a connector then only has to express in vectors what the description says in words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pal_plugin.llm.pocket_chat import ANSWER, END, PAD, SPECIAL_TOKENS, TEMPLATE
from pal_plugin.pretraining.loop import fit
from pal_plugin.soundworld import text_corpus


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the chat format's markers as special tokens."""
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
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        chat_template=TEMPLATE,
        model_max_length=1024,
        add_prefix_space=True,  # transformers 4 would disable it on loading
    )


def packed_batches(
    texts: Iterator[str], tokenizer: PreTrainedTokenizerFast, batch: int, length: int
) -> Iterator[Tensor]:
    """Endless packed batches of ids `[batch, length]`: texts separated by the end marker."""
    ids: list[int] = []
    while True:
        while len(ids) < batch * length:
            chunk = tokenizer(list(itertools.islice(texts, 256)))["input_ids"]
            ids += [token for text in chunk for token in [tokenizer.eos_token_id, *text]]
        yield torch.tensor(ids[: batch * length]).view(batch, length)
        ids = ids[batch * length :]


def answer_weighted_loss(
    llm: LlamaForCausalLM, ids: Tensor, answer_id: int, end_id: int, other: float
) -> Tensor:
    """Next-token loss that weights answers (and their end markers) 1, all other tokens `other`.

    Descriptions and questions are mostly random, hence unpredictable, and would dominate the loss.

    Args:
        ids: `[B, n]`.
        answer_id: marker before an answer.
        end_id: marker after it.
        other: weight of the tokens outside answers.
    """
    logits = llm(input_ids=ids[:, :-1]).logits.float()
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    # A token is inside an answer if the last marker before it opened one.
    place = torch.arange(ids.shape[1])
    opened = torch.where(ids == answer_id, place, -1).cummax(1).values
    closed = torch.where(ids == end_id, place, -1).cummax(1).values
    weights = torch.where(opened > closed, 1.0, other)[:, :-1].flatten()
    return (losses * weights).sum() / weights.sum()


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
    other: float = 0.1,
    bf16: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Trains tokenizer and LLM; writes both to `out` with `save_pretrained` (float16).

    Args:
        out: output folder.
        model: keyword arguments of `LlamaConfig`.
        vocab_size: size of the BPE vocabulary.
        tokenizer_texts: number of texts to train the tokenizer on.
        batch, length: batch size in sequences, and their length in tokens.
        lr: peak learning rate.
        other: loss weight of tokens outside answers.
        bf16: autocast to bfloat16.

    Returns:
        The weighted loss per token at the end of training, in nats.
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
    answer_id = tokenizer.convert_tokens_to_ids(ANSWER)
    batches = packed_batches(texts, tokenizer, batch, length)
    loss = fit(
        llm,
        batches,
        lambda ids: answer_weighted_loss(llm, ids, answer_id, tokenizer.eos_token_id, other),
        steps=steps,
        lr=lr,
        weight_decay=0.05,
        bf16=bf16,
        label="pocket LLM",
    )
    tokenizer.save_pretrained(out)
    # transformers 5 writes a class name unknown to 4; both know this one.
    card = out / "tokenizer_config.json"
    facts = {**json.loads(card.read_text("utf-8")), "tokenizer_class": "PreTrainedTokenizerFast"}
    card.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    llm.half().save_pretrained(out)
    return {"loss": loss}
