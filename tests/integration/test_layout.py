"""Rows without gaps: a batch equals its rows one by one in every family, windows included."""

import pytest
import torch
from checks import close, differ, each_case_and_backend, tiny
from families import VOCAB, WIDTH

from pal_plugin.integration import Route, attach, route
from pal_plugin.integration.plits import assemble
from pal_plugin.llm.families import embedding_scale
from pal_plugin.types import AudioTokens

TABLES = {
    "plits": {"a": Route("plits"), "b": Route("plits"), "c": Route("plits")},
    "hybrid": {"a": Route("plits"), "b": Route("lal"), "c": Route("plits")},
    "layers": {"a": Route("lal", (1,)), "b": Route("plits"), "c": Route("lal", (1,))},
}
#: Valid tokens by group, for three clips; one has nothing of "a", one nothing but "a".
LENGTHS = {"a": (6, 3, 0), "b": (2, 0, 4), "c": (1, 0, 3)}
TEXTS = (7, 5, 4)


def tokens(group, gaps):
    """Padding holds NaN; with gaps it stands in front of and between what is valid, too."""
    generator = torch.Generator().manual_seed(ord(group))
    lengths, longest = LENGTHS[group], max(LENGTHS[group])
    features = torch.randn(3, longest, WIDTH, generator=generator)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    if gaps:
        mask = torch.stack([row[torch.randperm(longest, generator=generator)] for row in mask])
    return AudioTokens(features.masked_fill(~mask[..., None], torch.nan), mask)


def text(side):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCAB, (3, max(TEXTS)), generator=generator)
    mask = torch.arange(max(TEXTS)) < torch.tensor(TEXTS)[:, None]
    return ids, mask.flip(1) if side == "left" else mask


def alone_in(groups, row):
    """The groups of one clip, without padding."""
    found = {name: g.features[row, g.mask[row]][None] for name, g in groups.items()}
    return {name: AudioTokens(f, torch.ones(f.shape[:2]).bool()) for name, f in found.items()}


def outputs(llm, groups, table, ids, mask, side):
    """The decoder's output at the text tokens, `[R, n, D]`."""
    inputs = route(groups, table).with_text(
        llm.get_input_embeddings()(ids), mask.long(), embedding_scale(llm), side
    )
    hidden = llm.get_decoder()(
        inputs_embeds=inputs.embeds,
        attention_mask=inputs.mask,
        position_ids=inputs.positions,
        use_cache=False,
        **inputs.audio_kwargs,
    ).last_hidden_state
    return inputs.of_text(hidden)


@torch.no_grad()
@each_case_and_backend
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_equals_one_by_one(family, backend, table, side):
    llm = attach(tiny(family, backend))
    ids, mask = text(side)
    groups = {name: tokens(name, gaps=side == "left") for name in LENGTHS}
    together = outputs(llm, groups, TABLES[table], ids, mask, side)
    for row in range(3):
        alone = alone_in(groups, row)
        own = ids[row, mask[row]][None]
        expected = outputs(llm, alone, TABLES[table], own, torch.ones_like(own), side)
        close(together[row, mask[row]], expected[0])
        deaf = outputs(llm, {}, {}, own, torch.ones_like(own), side)
        differ(deaf[0], expected[0])


@torch.no_grad()
@pytest.mark.parametrize("table", TABLES)
@each_case_and_backend
def test_generation_in_a_batch_equals_one_by_one(family, backend, table):
    llm = attach(tiny(family, backend))
    ids, mask = text("left")
    groups = {name: tokens(name, gaps=True) for name in LENGTHS}

    def generate(groups, ids, mask):
        inputs = route(groups, TABLES[table]).with_text(
            llm.get_input_embeddings()(ids), mask.long(), embedding_scale(llm), "left"
        )
        return llm.generate(
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            max_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
            **inputs.audio_kwargs,
        )

    together = generate(groups, ids, mask)
    for row in range(3):
        alone = alone_in(groups, row)
        own = ids[row, mask[row]][None]
        assert torch.equal(generate(alone, own, torch.ones_like(own))[0], together[row])


@torch.no_grad()
def test_rows_that_are_as_long_as_the_padded_text():
    """The shorter text has the clip: the assembled rows have as many columns as the text alone."""
    llm = attach(tiny("llama"))
    ids = torch.randint(1, VOCAB, (2, 6))
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = False
    heard = torch.zeros(2, 2, dtype=torch.bool)
    heard[0] = True
    groups = {"a": AudioTokens(torch.randn(2, 2, WIDTH), heard)}
    together = outputs(llm, groups, TABLES["plits"], ids, mask, "right")
    alone = {"a": AudioTokens(groups["a"].features[:1], heard[:1])}
    expected = outputs(llm, alone, TABLES["plits"], ids[:1, :4], mask[:1, :4], "right")
    close(together[0, :4], expected[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_segments_in_any_number_keep_their_order(side):
    """As of several clips between texts; also which column each token went to, and gradients."""
    generator = torch.Generator().manual_seed(0)
    segments = []
    for length in (3, 5, 2, 4):
        features = torch.randn(2, length, 3, generator=generator, requires_grad=True)
        segments.append((features, torch.rand(2, length, generator=generator) < 0.6))
    row = assemble(segments, side)
    longest = max(sum(int(mask[r].sum()) for _, mask in segments) for r in range(2))
    assert row.embeds.shape == (2, longest, 3)
    for r in range(2):
        expected = torch.cat([features[r, mask[r]] for features, mask in segments])
        assert torch.equal(row.embeds[r, row.mask[r]], expected)
        ends = [0, len(expected)] if side == "right" else [longest - len(expected), longest]
        assert row.mask[r].nonzero().flatten().tolist() == list(range(*ends))
        assert not row.embeds[r, ~row.mask[r]].any()
        for (features, mask), columns in zip(segments, row.columns, strict=True):
            assert torch.equal(row.embeds[r, columns[r, mask[r]]], features[r, mask[r]])
    weights = torch.randn(row.embeds.shape, generator=generator)
    (row.embeds * weights).sum().backward()
    for (features, mask), columns in zip(segments, row.columns, strict=True):
        wanted = weights.gather(1, columns[..., None].expand(-1, -1, 3))
        assert torch.equal(features.grad, torch.where(mask[..., None], wanted, 0))


def test_segments_that_do_not_fit_are_refused():
    one, other = torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="as wide as the LLM"):
        assemble([(one, mask), (other, mask)], "right")
    with pytest.raises(ValueError, match="at least one segment"):
        assemble([], "right")
    with pytest.raises(ValueError, match="expected left or right"):
        assemble([(one, mask)], "both")
