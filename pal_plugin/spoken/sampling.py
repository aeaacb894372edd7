"""Samples sentences from a small LLM: how `sentences.txt` was made, and can be made again.

Design choice: the prompt is a list of words, each used in a short sentence, followed by a random
topic word and a random first word. So topics and beginnings are as varied as these lists, a
sentence costs a dozen tokens, and all rows of a batch have the same length.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pal_plugin.utils.files import replace_text
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.runtime import progress_bar

MODEL = "weights://smollm2-135m-instruct"
TOPICS = Path(__file__).with_name("topics.txt")
PROMPT = """\
Words, each in a short sentence from everyday life.

window: Somebody left the window open last night.
friend: When will your friends arrive?
slowly: He slowly walked back to the old bridge.
bottle: Please put the bottle on the table.
hungry: The children were hungry after school.
ship: A large ship came into the harbor.
wash: I always wash the dishes after dinner.
ticket: Did you buy a ticket for the show?
"""
STARTS = """
    The A I We She He They You My Her His Our Your It This That There Please Can Do Did Is Are
    Was Has Will Would Could What When Where Why How Who Every Some Nobody Never Always After
    Before If In On At Sometimes Two Three Many
"""
#: Prefixes of words that must not occur in a sentence.
UNWANTED = (
    *("kill", "murder", "dead", "die", "dying", "death", "suicid", "shoot", "shot", "gun", "bomb"),
    *("weapon", "sex", "nude", "naked", "porn", "rape", "drunk", "drug", "stupid", "idiot", "ugly"),
    *("hate", "hell", "damn", "shit", "fuck", "bitch", "slave", "nazi", "terror", "racis", "abus"),
    *(
        "beat",
        "stab",
        "corpse",
        "toilet",
        "smollm",
        "hugging",
        "assistant",
        "nigg",
        "whore",
        "crap",
    ),
)
HEADER = (
    "# English sentences sampled from SmolLM2-135M-Instruct (Apache-2.0) by",
    "# `python -m pal_plugin.spoken.sampling`, filtered by rules, not read one by one: everyday",
    "# words, mostly grammatical, often without much sense.",
)
WORDS = range(3, 10)
#: Mean log-probability of a sentence's tokens below which it is rarely good English.
LEAST_LIKELY = -2.5
TOP_K = 40
MOST_TOKENS = 11
ROWS = 256


class Sample(NamedTuple):
    """A sampled line and the mean log-probability of its tokens."""

    text: str
    likelihood: float


def normal(text: str) -> str | None:
    """Normalizes a sentence: lower case, letters, apostrophes and single spaces.

    None unless it is one complete sentence without digits or names (capitals inside).
    """
    text = text.strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    inner = re.sub(r"\bI\b", "i", text[1:])
    if not re.fullmatch(r"[A-Z][a-z',]*( [a-z']+,?)+[.?!]", text[:1] + inner):
        return None
    plain = text.lower().rstrip(".?!").replace(",", "")
    words = plain.split()
    if len(words) not in WORDS or any(w.strip("'") != w for w in words):
        return None
    if any(a == b for a, b in pairwise(words)):
        return None
    return None if any(w.startswith(UNWANTED) for w in words) else plain


def select(
    samples: Iterable[Sample], known: Collection[str], lines: int, same_start: int = 80
) -> list[str]:
    """The first sentences that are likely, distinct, and vary in their beginnings.

    Args:
        samples: in the order they were drawn.
        known: allowed words; other words must occur in at least two sentences.
        lines: maximum number of sentences.
        same_start: maximum number with the same two first words.
    """
    texts = dict.fromkeys(
        text
        for text in (normal(s.text) for s in samples if s.likelihood >= LEAST_LIKELY)
        if text is not None
    )
    seen = Counter(word for text in texts for word in set(text.split()))
    starts: Counter[tuple[str, ...]] = Counter()
    kept = []
    for text in texts:
        words = text.split()
        start = tuple(words[:2])
        if starts[start] < same_start and all(w in known or seen[w] > 1 for w in words):
            starts[start] += 1
            kept.append(text)
    return kept[:lines]


def draw(folder: str | Path, count: int, seed: int, temperature: float) -> Iterator[Sample]:
    """Samples `count` lines; deterministic on the same machine.

    Args:
        folder: a causal LLM and its tokenizer, in transformers' format.
        count: rounded up to whole batches.
        seed: seed of topics, beginnings and tokens.
        temperature: temperature of sampling from the `TOP_K` likeliest tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    topics = fitting(dict.fromkeys(TOPICS.read_text("utf-8").split()), tokenizer)
    starts, rng = fitting(STARTS.split(), tokenizer), Random(seed)
    generator = torch.Generator().manual_seed(seed)
    newline = tokenizer.encode("\n", add_special_tokens=False)[0]
    prefix = tokenizer(PROMPT, return_tensors="pt", add_special_tokens=False).input_ids
    for _ in range(-(-count // ROWS)):
        rows = [(rng.choice(topics), rng.choice(starts)) for _ in range(ROWS)]
        heads = [f" {topic}: {start}" for topic, start in rows]
        tokens = tokenizer(heads, return_tensors="pt", add_special_tokens=False).input_ids
        drawn, scores = [], []
        with torch.inference_mode():
            cache = DynamicCache()
            model(prefix, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(ROWS)
            for _ in range(MOST_TOKENS + 1):
                logits = model(tokens, past_key_values=cache, logits_to_keep=1).logits[:, -1]
                logits = logits.float()
                best, index = logits.topk(TOP_K)  # [rows, k]
                choice = torch.multinomial((best / temperature).softmax(-1), 1, generator=generator)
                tokens = index.gather(1, choice)  # [rows, 1]
                drawn.append(tokens)
                scores.append(logits.log_softmax(-1).gather(1, tokens))
        for (_, start), line, score in zip(
            rows, torch.cat(drawn, 1).tolist(), torch.cat(scores, 1), strict=True
        ):
            if newline in line[1:]:
                end = line.index(newline)
                yield Sample(start + tokenizer.decode(line[:end]), score[:end].mean().item())


def fitting(words: Iterable[str], tokenizer: Any) -> list[str]:
    """Words that are a single token after a space."""
    return [w for w in words if len(tokenizer.encode(f" {w}", add_special_tokens=False)) == 1]


def common_words(folder: str | Path) -> set[str]:
    """Words that are single tokens of the LLM's tokenizer."""
    from transformers import AutoTokenizer

    return {
        token[1:]
        for token in AutoTokenizer.from_pretrained(folder).get_vocab()
        if re.fullmatch("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}[a-z]+", token)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m pal_plugin.spoken.sampling",
        description="Sample short English sentences from a small LLM.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="overwritten")
    parser.add_argument("--model", default=MODEL, help="folder of the LLM")
    parser.add_argument("--lines", type=int, default=8000, metavar="N", help="maximum to keep")
    parser.add_argument("--draws", type=int, default=16000, metavar="N", help="number to sample")
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = resolve(options.model)
    samples = []
    with progress_bar(None, "sentences", "sentence", lines=True) as bar:
        for sample in draw(folder, options.draws, options.seed, options.temperature):
            samples.append(sample)
            bar.update()
    kept = select(samples, common_words(folder), options.lines)
    replace_text(options.out, "\n".join([*HEADER, *sorted(kept), ""]))
    words = {word for text in kept for word in text.split()}
    print(f"{len(kept)} of {len(samples)} sentences, {len(words)} distinct words: {options.out}")


if __name__ == "__main__":
    main()
