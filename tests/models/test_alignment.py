"""Warm-up of a connector alone: CTC against sums over all paths, what trains, what is kept."""

import itertools
import logging

import numpy as np
import pytest
import torch

from pal_plugin.models import alignment, checkpoint
from pal_plugin.models.stages import Stage
from pal_plugin.types import AudioTokens

RATE = 16000


def audio(valid, width=6, seed=0):
    torch.manual_seed(seed)
    mask = torch.tensor(valid, dtype=torch.bool)
    features = torch.randn(*mask.shape, width, requires_grad=True)
    return AudioTokens(features, mask)


def likelihood(frames, embeddings, answer):
    """Sum over all ways to say `answer` in `frames`, with probabilities of every token."""
    cosines = torch.nn.functional.cosine_similarity(frames[:, None], embeddings[None], dim=2)
    blank = torch.full((len(frames), 1), alignment.BLANK)
    logits = torch.cat([blank, alignment.SHARPNESS * cosines], dim=1)
    chances = logits.double().softmax(1)
    total = 0.0
    for path in itertools.product(range(len(embeddings) + 1), repeat=len(frames)):
        said = [token for token, _ in itertools.groupby(path) if token]
        if said == [i + 1 for i in answer]:
            total += torch.stack([chances[n, token] for n, token in enumerate(path)]).prod()
    return float(total)


def test_it_is_the_likelihood_over_all_alignments():
    tokens = audio([[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
    embeddings = 0.3 * torch.randn(4, 6)
    answers = [[2, 2], [3, 0], [1]]
    loss, per_row = alignment.ctc(tokens, embeddings, answers)
    expected = []
    for row, answer in enumerate(answers):
        frames = tokens.features[row][tokens.mask[row]].detach()
        expected.append(-np.log(likelihood(frames, embeddings, answer)))
    lengths = torch.tensor([2.0, 2.0, 1.0])
    expected = torch.tensor(expected).float()
    torch.testing.assert_close(per_row * lengths, expected, rtol=1e-4, atol=1e-4)
    norms = tokens.features.detach()[tokens.mask].norm(dim=1) / embeddings.norm(dim=1).mean()
    torch.testing.assert_close(loss.detach(), expected.sum() / 5 + ((norms - 1) ** 2).mean())
    loss.backward()
    assert (tokens.features.grad[~tokens.mask] == 0).all()
    assert (tokens.features.grad[tokens.mask] != 0).any()


def test_rare_tokens_are_told_apart_from_common_ones(monkeypatch):
    tokens, embeddings = audio([[1, 1, 1]]), torch.randn(30, 6)
    _, every = alignment.ctc(tokens, embeddings, [[25]])
    monkeypatch.setattr(alignment, "OTHERS", 4)
    torch.manual_seed(3)
    drawn = torch.randperm(30)[:4]
    torch.manual_seed(3)
    _, some = alignment.ctc(tokens, embeddings, [[25]])
    others = {*range(4), *drawn.tolist()} - {25}
    assert len(others) > 4
    monkeypatch.setattr(alignment, "OTHERS", 30)
    _, alone = alignment.ctc(tokens, embeddings[[25, *sorted(others)]], [[0]])
    assert some < every
    torch.testing.assert_close(some, alone)


def test_an_answer_longer_than_its_audio_is_told_and_has_no_part(caplog):
    tokens, embeddings = audio([[1, 1, 1], [1, 0, 0]]), torch.randn(5, 6)
    with caplog.at_level(logging.WARNING):
        loss, per_row = alignment.ctc(tokens, embeddings, [[1, 2], [1, 2]])
    assert "skipped 1 answers longer than their audio: up to 2 tokens" in caplog.text
    assert per_row[1] == 0
    loss.backward()
    assert tokens.features.grad.isfinite().all()
    gradient, token = tokens.features.grad[1, 0], tokens.features.detach()[1, 0]
    along = torch.nn.functional.cosine_similarity(gradient, token, dim=0).abs()
    assert along > 0.9999  # of its norm alone


def batch():
    waves = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    return {
        "audio": [(wave, RATE) for wave in waves],
        "text_input": ["What is said?"] * 2,
        "text_output": ["a bell", "rain"],
    }


def test_one_connector_learns_and_the_llm_is_not_run(tiny_model, monkeypatch):
    model = tiny_model("pal", aligns="speech").train()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("connectors.speech.") for name in trained)
    monkeypatch.setattr(type(model.decoder), "forward", None)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        out = model(batch())
        out["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out["loss"].item())
    assert out["per_row_loss"].shape == (2,)
    assert losses[-1] < 0.6 * losses[0]


def test_what_it_leaves_is_a_start_for_every_routing(tiny_model, tmp_path):
    aligned = tiny_model("lal", aligns="speech")
    with torch.no_grad():
        for parameter in aligned.connectors["speech"].parameters():
            parameter.add_(1)
    path = checkpoint.save(aligned, tmp_path / "aligned")
    for model_type in ("lal", "plits", "pal"):
        model = tiny_model(model_type, llm="lora")
        before = {n: p.clone() for n, p in model.state_dict().items()}
        assert checkpoint.load(model, path) == ["connectors.speech"]
        for name, tensor in model.state_dict().items():
            moved = not torch.equal(tensor, before[name])
            assert moved == name.startswith("connectors.speech."), name


def test_weights_that_took_a_route_keep_it(tiny_model, tmp_path):
    routed = checkpoint.save(tiny_model("lal"), tmp_path / "routed")
    aligned = tiny_model("lal", aligns="speech")
    checkpoint.load(aligned, routed)
    path = checkpoint.save(aligned, tmp_path / "aligned")
    with pytest.raises(checkpoint.CheckpointError, match="was trained with the routing table"):
        checkpoint.load(tiny_model("plits"), path)


def test_what_does_not_go_with_it_is_an_error(tiny_model):
    with pytest.raises(ValueError, match="a single connector: set stage.encoders and stage.llm"):
        Stage(llm="lora", aligns="speech")
    with pytest.raises(ValueError, match="stage.aligns is 'music'; the groups are .*speech"):
        tiny_model("pal", aligns="music")
