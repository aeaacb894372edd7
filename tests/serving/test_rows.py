"""Rows that join and leave at random compute what each computes alone, in every family of LLMs."""

import random

import pytest
import torch
from families import CASES, NO_SDPA, VOCAB, WIDTH, build

from pal_plugin.attention.context import AudioContext
from pal_plugin.integration import attach, flamingo
from pal_plugin.integration.routing import ClipPlaces, RoutedAudio
from pal_plugin.llm.families import embedding_scale
from pal_plugin.serving.rows import Rows
from pal_plugin.types import AudioTokens

STEPS = 6
#: Some in the default run: full attention, and sliding windows in some layers.
QUICK = ("llama", "gemma3")
#: Groups of columns that different layers see.
SPANS = ((3, frozenset({0, 2})), (2, None))
KINDS = ("text", "lal", "plits", "pal", "flamingo")


def prompt(llm, kind, generator, spans=None):
    """A prompt of a random length, with two clips before the text or among it, or none."""
    n = int(torch.randint(2, 9, (1,), generator=generator))
    ids = torch.randint(1, VOCAB, (1, n), generator=generator)
    embeds, mask = llm.get_input_embeddings()(ids), torch.ones_like(ids)
    if kind == "text":
        return RoutedAudio().with_text(embeds, mask, side="left")

    def tokens(columns):
        valid = torch.rand(2, columns, generator=generator) < 0.7
        valid[:, 0] = True
        return AudioTokens(torch.randn(2, columns, WIDTH, generator=generator), valid)

    def context():
        made = tokens(5)
        return AudioContext(made.features, made.mask, spans=spans)

    routed = RoutedAudio(
        tokens(3) if kind in ("plits", "pal") else None,
        context() if kind in ("lal", "pal") else None,
        context() if kind == "flamingo" else None,
    )
    among = int(torch.randint(0, n + 1, (1,), generator=generator))
    places = ClipPlaces(torch.tensor([[0, 1]]), torch.tensor([[0, among]]))
    return routed.with_text(embeds, mask, embedding_scale(llm), "left", places)


def alone(llm, inputs):
    out = llm.generate(
        inputs_embeds=inputs.embeds,
        attention_mask=inputs.mask,
        **inputs.audio_kwargs,
        max_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.cat(out.logits).float()  # [STEPS, V]


def together(llm, prompts, choose):
    """Logits `[steps, V]` of each prompt, of rows that join and leave when `choose` says so."""
    waiting, running, rows = list(range(len(prompts))), [], None
    found = {number: [] for number in waiting}
    most = 0
    while waiting or running:
        parts = [] if rows is None else [rows]
        while waiting and choose.random() < 0.6:
            running.append(waiting.pop(0))
            parts.append(Rows.read(llm, prompts[running[-1]]))
        if not parts:
            continue
        rows, most = Rows.merged(parts), max(most, len(running))
        for logits, number in zip(rows.logits, running, strict=True):
            found[number].append(logits)
        kept = [
            place
            for place, number in enumerate(running)
            if len(found[number]) < STEPS and choose.random() < 0.95  # else it is cancelled
        ]
        if len(kept) < len(running):
            running = [running[place] for place in kept]
            rows = rows.select(kept) if kept else None
        if rows is not None:
            rows = rows.step(llm, rows.logits.argmax(-1))
    assert most > 2
    return {number: torch.stack(logits) for number, logits in found.items()}


@torch.no_grad()
def check(name, backend, spans=None):
    llm = build(name, backend)
    attach(llm)
    blocks = flamingo.attach(llm, layers=[1])
    for block in blocks.values():
        torch.nn.init.constant_(block.gate_attention, 0.7)
    generator = torch.Generator().manual_seed(0)
    prompts = [prompt(llm, kind, generator, spans) for kind in KINDS * 2]
    found = together(llm, prompts, random.Random(1))
    whole = 0
    for number, logits in found.items():
        expected = alone(llm, prompts[number])[: len(logits)]
        scale = expected.abs().max()
        torch.testing.assert_close(logits / scale, expected / scale, atol=2e-5, rtol=0)
        whole += len(logits) == STEPS
    assert whole > len(prompts) // 2


@pytest.mark.parametrize("name", QUICK)
def test_rows_compute_what_they_compute_alone(name):
    check(name, "sdpa", SPANS if name == "llama" else None)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("spans", [None, SPANS], ids=["one", "spans"])
@pytest.mark.parametrize("name", CASES)
def test_in_every_family(name, spans, backend):
    if backend == "sdpa" and name in NO_SDPA:
        pytest.skip("LAL refuses sdpa for it")
    check(name, backend, spans)


@torch.no_grad()
def test_what_no_row_has_takes_no_memory():
    llm = build("llama", "sdpa")
    attach(llm)
    generator = torch.Generator().manual_seed(0)
    text, heard = (Rows.read(llm, prompt(llm, kind, generator)) for kind in ("text", "lal"))
    both = Rows.merged([text, heard])
    assert both.select([0]).audio is None
    assert both.select([0]).mask.shape == text.mask.shape
    assert both.select([0]).cache.get_seq_length() == text.mask.shape[1]
    assert both.select([1]).audio.mask.shape == (1, int(heard.audio.mask.sum()))
