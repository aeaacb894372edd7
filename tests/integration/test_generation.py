"""`llm.generate(audio=)` on all families against the explicit reference."""

import pytest
import torch
from checks import (
    Batch,
    M,
    close,
    each_case_and_backend,
    each_family_and_backend,
    generate,
    reference_of_generated,
    tiny,
)
from families import VOCAB, WIDTH

from pal_plugin.integration import AudioContext, attach


@torch.no_grad()
@each_case_and_backend
def test_greedy_generation(family, backend):
    llm = attach(tiny(family, backend))
    for n in (7, 18):
        batch = Batch(n=n)
        out = generate(llm, batch, do_sample=False, output_logits=True)
        logits = torch.stack(out.logits, dim=1)
        for row, (new, expected) in enumerate(reference_of_generated(llm, batch, out.sequences)):
            close(logits[row], expected)
            assert torch.equal(new, expected.argmax(-1))


@torch.no_grad()
@each_case_and_backend
def test_beam_search(family, backend):
    llm = attach(tiny(family, backend))
    batch = Batch()
    options = {"num_beams": 3, "num_return_sequences": 2, "do_sample": False, "length_penalty": 0.0}
    cached = generate(llm, batch, output_scores=True, **options)
    uncached = generate(llm, batch, use_cache=False, **options)
    assert torch.equal(cached.sequences, uncached.sequences)
    # Without a length penalty a beam's score is the sum of its log-probabilities.
    rows = reference_of_generated(llm, batch, cached.sequences)
    for score, (new, logits) in zip(cached.sequences_scores, rows, strict=True):
        close(score, logits.log_softmax(-1).gather(1, new[:, None]).sum())


@torch.no_grad()
@each_family_and_backend
def test_sampling(family, backend):
    llm = attach(tiny(family, backend))
    batch = Batch()
    options = {"do_sample": True, "num_return_sequences": 2, "output_logits": True}
    torch.manual_seed(0)
    cached = generate(llm, batch, **options)
    torch.manual_seed(0)
    uncached = generate(llm, batch, use_cache=False, **options)
    assert torch.equal(cached.sequences, uncached.sequences)
    assert not torch.equal(cached.sequences[::2], cached.sequences[1::2])
    logits = torch.stack(cached.logits, dim=1)
    for row, (_, expected) in enumerate(reference_of_generated(llm, batch, cached.sequences)):
        close(logits[row], expected)


@torch.no_grad()
@each_case_and_backend
@pytest.mark.parametrize("n", [7, 18])
def test_a_static_cache(family, backend, n):
    llm = attach(tiny(family, backend))
    for padding in ("left", None):
        batch = Batch(padding, n)
        options = {"do_sample": False, "output_logits": True}
        dynamic = generate(llm, batch, **options)
        static = generate(llm, batch, cache_implementation="static", **options)
        assert torch.equal(static.sequences, dynamic.sequences)
        close(torch.stack(static.logits), torch.stack(dynamic.logits))


@torch.no_grad()
@each_case_and_backend
def test_prompt_lookup(family, backend):
    """Several candidate tokens a step, some of which are accepted and some thrown away."""
    llm = attach(tiny(family, backend))
    clip = torch.randn(1, M, WIDTH, generator=torch.Generator().manual_seed(3))
    audio = AudioContext(clip, torch.ones(1, M, dtype=torch.bool))
    # Up to 5.0 looking up needs an end token; this one is outside of the vocabulary.
    ends = {"pad_token_id": 0, "eos_token_id": VOCAB}
    options = {"do_sample": False, "max_new_tokens": 12, **ends}
    ids = torch.randint(1, VOCAB, (1, 6), generator=torch.Generator().manual_seed(4))
    greedy = llm.generate(input_ids=ids, audio=audio, **options)
    ids = torch.cat([greedy[:, :14], ids], 1)  # a prompt with much to look up
    greedy = llm.generate(input_ids=ids, audio=audio, **options)
    lengths = []
    llm.model.layers[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    try:
        looked_up = llm.generate(input_ids=ids, audio=audio, prompt_lookup_num_tokens=3, **options)
    except ValueError as error:
        if "Cannot `crop`" not in str(error):
            raise
        pytest.skip("transformers 5.0 cannot take tokens back from a sliding window")
    # Up to 5.0 the last accepted candidates may go beyond max_new_tokens.
    assert torch.equal(looked_up[:, : greedy.shape[1]], greedy)
    assert max(lengths[1:]) > 1  # candidates were tried
