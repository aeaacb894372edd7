"""Groups with layers of their own, and hidden columns, against the explicit reference."""

import pytest
import torch
from checks import Batch, close, each_case_and_backend, each_family, tiny
from families import WIDTH
from reference import lal_logits

from pal_plugin.attention.keys_values import precompute
from pal_plugin.integration import AudioContext, Route, attach, flamingo, route
from pal_plugin.types import AudioTokens

#: Of 6 columns, the first two are for layer 0, three for all, and the last one for layer 1.
SPANS = ((2, frozenset({0})), (3, None), (1, frozenset({1})))


def columns(layer):
    heard = {0: [0, 1, 2, 3, 4], 1: [2, 3, 4, 5]}
    return heard.get(layer, [2, 3, 4])


@each_case_and_backend
@pytest.mark.parametrize("padding", ["left", "right", None])
def test_each_group_is_heard_by_its_own_layers(family, backend, padding):
    llm = attach(tiny(family, backend))
    for n in (7, 20):
        batch = Batch(padding, n)
        with torch.no_grad():
            expected = batch.reference(llm, columns=columns)
            batch.check(llm(**batch.text, audio=batch.audio(spans=SPANS)).logits, expected)
        batch.check(llm(**batch.text, audio=batch.audio(spans=SPANS)).logits, expected)


@each_family
def test_gradients_reach_each_group(family):
    llm = attach(tiny(family)).requires_grad_(False)
    batch = Batch(None)
    features = batch.features.clone().requires_grad_()
    audio = AudioContext(features, batch.audio_mask, spans=SPANS)
    batch.loss(llm(**batch.text, audio=audio).logits).backward()
    again = batch.features.clone().requires_grad_()
    by_hand = [lal_logits(llm, batch.ids[r], again[r], columns=columns) for r in range(3)]
    batch.loss(torch.stack(by_hand)).backward()
    close(features.grad, again.grad, 1e-4)


@torch.no_grad()
@each_family
def test_remembered_keys_are_those_of_the_layer(family):
    llm = attach(tiny(family))
    batch = Batch()
    audio = batch.audio(spans=SPANS)
    kept = precompute(llm, audio)
    assert {key.shape[2] for key, _ in kept.clip_kv.values()} <= {3, 4, 5}
    expected = batch.reference(llm, columns=columns)
    batch.check(llm(**batch.text, audio=kept).logits, expected)
    # The second clip has no columns 0 and 3: they go, of each layer's keys too.
    one = kept.select(torch.tensor([1]))
    assert one.spans == ((1, frozenset({0})), (2, None), (1, frozenset({1})))
    ids = batch.ids[1:2, batch.valid(1)]
    close(llm(input_ids=ids, audio=one).logits[0], expected[1])
    answers = [
        llm.generate(input_ids=ids, audio=a, max_new_tokens=4, pad_token_id=0)
        for a in (one, audio.select(torch.tensor([1])))
    ]
    assert torch.equal(*answers)


@torch.no_grad()
@each_case_and_backend
def test_hidden_columns_leave_the_positions_of_all_others(family, backend):
    llm = attach(tiny(family, backend))
    hidden = torch.tensor([False, False, True, True, False, False])
    for n in (7, 20):
        batch = Batch("left", n)
        expected = batch.reference(llm, columns=lambda layer: [0, 1, 4, 5])
        audio = batch.audio()
        batch.check(llm(**batch.text, audio=audio.hiding(hidden)).logits, expected)
        kept = precompute(llm, audio).hiding(hidden)
        batch.check(llm(**batch.text, audio=kept).logits, expected)
        # Dropped altogether, they are gone from memory and from nobody's position.
        less = kept.select(torch.arange(3))
        assert less.mask.shape[1] == 4
        batch.check(llm(**batch.text, audio=less).logits, expected)
    assert torch.equal(audio.hiding(hidden).positions, audio.positions)
    masked = AudioContext(batch.features, batch.audio_mask & ~hidden)
    assert not torch.equal(masked.positions, audio.positions)


@torch.no_grad()
def test_hiding_is_a_weight_of_zero_and_the_rest_renormalised():
    llm = attach(tiny("llama", "eager"))
    batch = Batch(None)
    layers = llm.model.layers
    seen = []
    hook = layers[0].self_attn.register_forward_hook(lambda m, a, out: seen.append(out[1]))
    audio = batch.audio()
    llm(**batch.text, audio=audio, output_attentions=True)
    hidden = torch.tensor([True, False, False, False, True, False])
    llm(**batch.text, audio=audio.hiding(hidden), output_attentions=True)
    hook.remove()
    whole, left = seen
    whole = whole.clone()
    whole[..., :6][..., hidden] = 0
    close(left, whole / whole.sum(-1, keepdim=True))


def tokens(count, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, count, dtype=torch.bool)
    mask[1, count - 1 :] = False
    return AudioTokens(torch.randn(2, count, WIDTH, generator=generator), mask)


def test_a_table_makes_spans_only_where_layers_differ():
    groups = {"a": tokens(3, 0), "b": tokens(2, 1)}
    same = route(groups, {"a": Route("lal", (1,)), "b": Route("lal", (1,))}).audio
    assert (same.spans, same.layers) == (None, {1})
    mixed = route(groups, {"a": Route("lal", (1,)), "b": Route("lal")}).audio
    assert (mixed.spans, mixed.layers) == (((3, frozenset({1})), (2, None)), None)
    assert mixed.attends_in(0)
    assert mixed.at(0).features.shape[1] == 2
    assert mixed.at(1) is mixed
    two = route(groups, {"a": Route("lal", (1,)), "b": Route("lal", (0,))}).audio
    assert two.layers == {0, 1}
    assert not two.attends_in(2)
    with pytest.raises(ValueError, match="hold .* columns, but there are 6"):
        AudioContext(torch.ones(1, 6, 4), torch.ones(1, 6, dtype=torch.bool), spans=((5, None),))


def test_the_same_tokens_by_two_routes():
    groups = {"a": tokens(5, 0)}
    both = route(groups, {"a": [Route("plits", pool=2), Route("lal")]})
    assert both.prefix.features.shape[1] == 3
    torch.testing.assert_close(both.prefix.features[0, 0], groups["a"].features[0, :2].mean(0))
    torch.testing.assert_close(both.prefix.features[0, 2], groups["a"].features[0, 4])
    assert both.prefix.mask.tolist() == [[True] * 3, [True, True, False]]
    assert both.audio.features.shape[1] == 5
    with pytest.raises(ValueError, match="expected a number from 1 on"):
        Route("plits", pool=0)


def test_hidden_columns_are_no_prefix():
    hidden = tokens(4, 0).hiding(torch.tensor([False, True, False, False]))
    table = {"a": Route("plits")}
    with pytest.raises(ValueError, match="mask them instead"):
        route({"a": hidden}, table).with_text(torch.zeros(2, 3, WIDTH), torch.ones(2, 3))
    context = route({"a": hidden}, {"a": Route("lal")}).audio
    assert context.mask[0].tolist() == [True, False, True, True]
    assert context.positions[0].tolist() == [-4, -3, -2, -1]


@torch.no_grad()
def test_cross_attention_of_groups_with_layers_of_their_own():
    from families import build

    def heard_in(spans):
        llm = build("llama", "sdpa", num_hidden_layers=4)
        torch.manual_seed(0)
        blocks = flamingo.attach(llm, layers=(1, 3))
        for block in blocks.values():
            torch.nn.init.constant_(block.gate_attention, 0.8)
        inputs = []
        for block in blocks.values():
            block.k_proj.register_forward_hook(lambda m, a, out: inputs.append(a[0].shape[1]))
        features = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
        mask = torch.ones(2, 5, dtype=torch.bool)
        audio = AudioContext(features, mask, spans=spans)
        ids = torch.randint(0, 50, (2, 4), generator=torch.Generator().manual_seed(1))
        logits = llm(input_ids=ids, cross_audio=audio).logits
        kept = flamingo.precompute(blocks, audio)
        close(llm(input_ids=ids, cross_audio=kept).logits, logits)
        return inputs[:2]

    assert heard_in(((2, frozenset({1})), (3, frozenset({3})))) == [2, 3]
    assert heard_in(((2, frozenset({1})), (3, None))) == [5, 3]
    routing = {"a": Route("flamingo", (0,)), "b": Route("flamingo")}
    from pal_plugin.integration.routing import blocks_of

    assert blocks_of(routing, flamingo.default_layers(8)) == [0, 3, 7]
