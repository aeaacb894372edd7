"""Weights of a Q-Former that others trained: their names, their text half, what does not fit."""

import pytest
import torch
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from pal_plugin.connectors import QFormer
from pal_plugin.connectors.qformer_weights import load_qformer

from .test_qformer import (
    HEADS,
    HIDDEN,
    LAYERS,
    OUT,
    QUERIES,
    WIDTH,
    audio,
    connector,
    lavis_layers,
    lavis_weights,
    save,
)


@torch.no_grad()
def test_the_loaded_layers_compute_what_those_of_lavis_do(tmp_path):
    weights, layers = lavis_weights(), lavis_layers()
    start = "Qformer.bert.encoder."
    layers.load_state_dict(
        {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
    )
    torch.manual_seed(0)
    qformer = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * HIDDEN,
            encoder_hidden_size=WIDTH,
        )
    ).eval()
    tokens = load_qformer(qformer, save(weights, tmp_path / "q.pt"))
    assert torch.equal(tokens, weights["query_tokens"][0])
    query, read = torch.randn(2, QUERIES, HIDDEN), torch.randn(2, 9, WIDTH)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    output = qformer(
        query_embeds=query, encoder_hidden_states=read, encoder_attention_mask=mask
    ).last_hidden_state
    expected = layers(
        qformer.layernorm(query),
        head_mask=[None] * LAYERS,
        encoder_hidden_states=read,
        encoder_attention_mask=torch.where(mask, 0.0, -1e9)[:, None, None],
        query_length=QUERIES,
        return_dict=True,
    ).last_hidden_state
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_salmonns_names_a_bare_q_former_and_our_own_are_read_too(tmp_path):
    weights = lavis_weights(whole_model=False)
    expected = connector(checkpoint=save(weights, tmp_path / "lavis.pt")).state_dict()
    salmonn = {f"speech_{k}": v for k, v in weights.items()}
    salmonn |= {"speech_llama_proj.weight": torch.ones(2, 2), "ln_speech.bias": torch.ones(2)}
    bare = {k.removeprefix("Qformer."): v for k, v in weights.items()}
    torch.manual_seed(0)
    plain = QFormer(
        *({"whisper": WIDTH}, {}, OUT, QUERIES, None, HIDDEN, LAYERS, HEADS),
        checkpoint=tmp_path / "lavis.pt",
    )
    transformers = {f"qformer.{k}": v for k, v in plain.qformer.state_dict().items()}
    transformers |= {"query_tokens": plain.query[None].detach()}
    for name, layout in (("salmonn", salmonn), ("bare", bare), ("transformers", transformers)):
        loaded = connector(checkpoint=save(layout, tmp_path / f"{name}.safetensors")).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in expected.items()), name


def test_query_tokens_of_another_number_stay_out(tmp_path):
    path = save(lavis_weights(), tmp_path / "q.pt")
    fresh, loaded = connector(queries=2), connector(queries=2, checkpoint=path)
    assert torch.equal(loaded.query, fresh.query)
    changed = [
        k for k, v in fresh.state_dict().items() if not torch.equal(loaded.state_dict()[k], v)
    ]
    assert {k.split(".")[0] for k in changed} == {"qformer"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("Qformer.bert.embeddings.LayerNorm.bias"),
            "missing keys: layernorm.bias$",
        ),
        (
            lambda w: w.update({"Qformer.bert.pooler.dense.bias": torch.ones(2)}),
            "unexpected keys: pooler.dense.bias$",
        ),
        (lambda w: w.update({"audio_mae.norm": torch.ones(2)}), "unexpected keys: audio_mae.norm$"),
        (
            lambda w: w.update({"Qformer.bert.embeddings.LayerNorm.bias": torch.ones(2)}),
            r"other shapes: layernorm.bias: checkpoint \(2,\), model \(16,\)$",
        ),
    ],
)
def test_what_no_rule_names_is_an_error(tmp_path, change, message):
    weights = lavis_weights()
    change(weights)
    with pytest.raises(ValueError, match=message):
        connector(checkpoint=save(weights, tmp_path / "q.pt"))


def test_a_checkpoint_for_other_encoders_says_how_to_use_it(tmp_path):
    path = save(lavis_weights(width=20), tmp_path / "q.pt")
    with pytest.raises(ValueError, match="tokens of width 20, got 12: encoder_width: 20"):
        connector(checkpoint=path)
    projected = connector(checkpoint=path, encoder_width=20)
    assert projected({"whisper": audio(9)}).features.isfinite().all()
    with pytest.raises(ValueError, match=r"unexpected keys: encoder.layer.2.attention.attention"):
        connector(checkpoint=path, encoder_width=20, layers=2)
