"""LAL's gains against the equations: what each layer multiplies N(H) with."""

import pytest
import torch
from checks import Batch, close, differ, each_case_and_backend, each_family, tiny
from reference import lal_logits

from pal_plugin.attention.keys_values import precompute
from pal_plugin.integration import AudioContext, Route, attach, route
from pal_plugin.integration.routing import RoutedAudio
from pal_plugin.models.audio_kv import AudioKV
from pal_plugin.types import AudioTokens

GAINS = torch.linspace(-0.3, 2, 18).view(3, 6)  # 3 layers, 6 columns


def gains_for(llm):
    """SmolLM3 needs a layer more."""
    layers = len(llm.get_decoder().layers)
    return torch.linspace(-0.3, 2, 6 * layers).view(layers, 6)


def by_hand(llm, batch, gains):
    return [
        lal_logits(
            llm,
            batch.ids[row, batch.valid(row)],
            batch.heard(row),
            gains=gains[:, batch.audio_mask[row]],
        )
        for row in range(3)
    ]


@torch.no_grad()
@each_case_and_backend
def test_each_layer_multiplies_its_normed_audio(family, backend):
    llm = attach(tiny(family, backend))
    gains = gains_for(llm)
    for n in (7, 20):
        batch = Batch("left", n)
        expected = by_hand(llm, batch, gains)
        batch.check(llm(**batch.text, audio=batch.audio(gains=gains)).logits, expected)
        kept = precompute(llm, batch.audio(gains=gains))
        batch.check(llm(**batch.text, audio=kept).logits, expected)


@each_family
@pytest.mark.parametrize("checkpoint_kv", [True, False])
def test_gradients_of_gains_and_audio(family, checkpoint_kv):
    llm = attach(tiny(family), checkpoint_kv).requires_grad_(False)
    batch = Batch(None)

    def gradients(logits_of):
        features = batch.features.clone().requires_grad_()
        gains = gains_for(llm).requires_grad_()
        batch.loss(logits_of(features, gains)).backward()
        return features.grad, gains.grad

    made = gradients(
        lambda h, g: llm(**batch.text, audio=AudioContext(h, batch.audio_mask, gains=g)).logits
    )
    wanted = gradients(
        lambda h, g: torch.stack([lal_logits(llm, batch.ids[r], h[r], gains=g) for r in range(3)])
    )
    for one, other in zip(made, wanted, strict=True):
        close(one, other, 1e-4)


@torch.no_grad()
def test_gains_of_one_change_nothing_and_others_do():
    llm = attach(tiny("llama"))
    batch = Batch()
    plain = llm(**batch.text, audio=batch.audio()).logits
    assert torch.equal(llm(**batch.text, audio=batch.audio(gains=torch.ones(3, 6))).logits, plain)
    differ(llm(**batch.text, audio=batch.audio(gains=GAINS)).logits[0], plain[0])


@torch.no_grad()
def test_groups_keep_their_own_when_columns_go():
    llm = attach(tiny("llama"))
    batch = Batch()
    groups = {
        "general": AudioTokens(batch.features[:, :4], batch.audio_mask[:, :4]),
        "speech": AudioTokens(batch.features[:, 4:], batch.audio_mask[:, 4:]),
    }
    table = {"general": Route("lal", (0, 2)), "speech": Route("lal")}
    gain = torch.tensor([0.2, 0.3, 0.4])
    heard = route(groups, table, gains={"general": gain}).audio
    expected = torch.cat([gain[:, None].expand(3, 4), torch.ones(3, 2)], 1)
    assert torch.equal(heard.gains, expected)
    assert torch.equal(heard.at(1).gains, expected[:, 4:])
    assert torch.equal(heard.at(2).gains, expected)
    one = heard.select(torch.tensor([1]))
    assert torch.equal(one.gains, expected[:, batch.audio_mask[1]])
    ids = batch.ids[1:2, batch.valid(1)]
    whole = llm(**batch.text, audio=heard).logits[1:2, batch.valid(1)]
    close(llm(input_ids=ids, audio=one).logits, whole)


@torch.no_grad()
def test_saved_features_keep_their_gains(tmp_path):
    llm = attach(tiny("llama"))
    batch = Batch()
    audio = batch.audio(gains=GAINS)
    AudioKV(RoutedAudio(audio=audio), "hash").save(tmp_path / "clip")
    back = AudioKV.load(tmp_path / "clip", "hash").routed.audio
    assert torch.equal(back.gains, GAINS)
    close(llm(**batch.text, audio=back).logits[0], llm(**batch.text, audio=audio).logits[0])


def test_gains_that_do_not_fit_are_refused():
    batch = Batch()
    with pytest.raises(ValueError, match=r"gains is \(3, 5\); expected \[layers, m\]"):
        batch.audio(gains=torch.ones(3, 5))
