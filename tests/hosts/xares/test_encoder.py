"""Our encoders with XARES-LLM's contract: shapes, masks, rates, the features of our models."""

import inspect

import pytest
import torch

from pal_plugin.audio.io import resample
from pal_plugin.encoders import build_encoder
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.hosts.xares import encoder as module
from pal_plugin.hosts.xares.encoder import PalEncoder
from pal_plugin.models.audio_llm import AudioLLM

SECONDS = (0.4, 3.1, 1.28)
WHISPER = {
    "type": "whisper",
    "features": {"window_s": 1.28},
    "model": {
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
    },
}
ENTRIES = {
    "whisper": WHISPER,
    "whisper, overlapping": {**WHISPER, "features": {"window_s": 1.28, "overlap_s": 0.32}},
    "whisper, hidden states": {**WHISPER, "hidden_states": [0, 2]},
    "sslam": {
        "type": "sslam",
        "features": {"window_s": 1.28},
        "model": {"embed_dim": 24, "depth": 1, "num_heads": 2},
    },
    "clap": {
        "type": "clap",
        "features": {"window_s": 1.28, "n_fft": 2048, "hop_length": 480},
        "model": {
            "spec_size": 128,
            "depths": [1, 1, 1],
            "num_attention_heads": [1, 1, 2],
            "patch_embeds_hidden_size": 8,
            "window_size": 4,
        },
    },
    "ast": {
        "type": "ast",
        "features": {"window_s": 1.28},
        "model": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
    },
}


def pal_encoder(name="whisper", **more) -> PalEncoder:
    torch.manual_seed(0)
    return PalEncoder(**ENTRIES[name], **more)


def padded(seconds=SECONDS, rate_hz=16000):
    """Clips of these lengths, and a batch of them that is loud behind their ends."""
    torch.manual_seed(1)
    clips = [0.1 * torch.randn(round(s * rate_hz)) for s in seconds]
    longest = max(map(len, clips))
    audio, mask = torch.randn(len(clips), longest), torch.zeros(len(clips), longest).int()
    for row, clip in enumerate(clips):
        audio[row, : len(clip)], mask[row, : len(clip)] = clip, 1
    return clips, audio, mask


@pytest.mark.parametrize("name", ENTRIES)
@torch.no_grad()
def test_padded_clips_give_what_each_gives_alone(name):
    clips, audio, mask = padded()
    encoder = pal_encoder(name)
    features, kept = encoder(audio, mask)
    assert features.shape == (3, kept.shape[1], encoder.output_dim)
    assert kept.dtype == torch.long
    assert set(kept.unique().tolist()) == {0, 1}
    for row, clip in enumerate(clips):
        alone, alone_kept = encoder(clip[None])
        count = int(alone_kept.sum())
        assert kept[row].tolist() == [1] * count + [0] * (kept.shape[1] - count)
        expected = alone[0][alone_kept[0].bool()]
        torch.testing.assert_close(features[row, :count], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["whisper", "whisper, hidden states", "sslam", "clap"])
@torch.no_grad()
def test_features_are_those_of_the_encoder_window_by_window(name):
    clips, audio, mask = padded()
    entry = ENTRIES[name]
    torch.manual_seed(0)
    reference, frontend = build_encoder(**entry).eval(), AudioFrontend({"it": entry})
    features, kept = pal_encoder(name)(audio, mask)
    for row, clip in enumerate(clips):
        made = frontend((clip, 16000))["it"]
        windows = [
            reference(made["features"][[w]], made["frames"][[w]])
            for w in range(len(made["frames"]))
        ]
        expected = torch.cat([w.features[0][w.mask[0]] for w in windows])
        assert kept[row].sum() == len(expected)
        torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_no_mask_means_all_of_it():
    _, audio, mask = padded()
    encoder = pal_encoder()
    features, kept = encoder(audio)
    whole, whole_kept = encoder(audio, torch.ones_like(mask).bool())
    assert torch.equal(features, whole)
    assert torch.equal(kept, whole_kept)
    assert kept.all()


@torch.no_grad()
def test_audio_is_resampled_to_the_encoders_rate():
    (clip,), _, _ = padded([1.0])
    heard, _ = pal_encoder("clap")(clip[None])
    given, _ = pal_encoder("clap", rate_hz=48000)(resample(clip, 16000, 48000)[None])
    torch.testing.assert_close(heard, given)
    other, _ = pal_encoder("clap", rate_hz=48000)(clip[None])
    assert other.shape != heard.shape or not torch.allclose(other, heard)


@torch.no_grad()
def test_a_token_for_each_time_step():
    _, audio, mask = padded()
    encoder = pal_encoder("sslam")
    every, every_kept = encoder(audio, mask)
    features, kept = pal_encoder("sslam", cells="mean")(audio, mask)
    row = encoder.encoder.grid[1]
    assert row > 1
    torch.testing.assert_close(features, every.unflatten(1, (-1, row)).mean(2))
    assert torch.equal(kept, every_kept[:, ::row])
    same, _ = pal_encoder("whisper", cells="mean")(audio, mask)
    assert torch.equal(same, pal_encoder()(audio, mask)[0])


@torch.no_grad()
def test_the_encoder_of_a_model():
    encoder = PalEncoder(of="lal", name="whisper")
    model = AudioLLM.from_pretrained("lal").eval()
    (clip,), _, _ = padded([1.7])
    entry = model.frontend.joined({"audio": [(clip, 16000)]})["whisper"]
    tokens = model.encoders["whisper"](entry["features"], entry["frames"])
    features, kept = encoder(clip[None])
    torch.testing.assert_close(features[0][kept[0].bool()], tokens.features[tokens.mask])
    assert encoder.output_dim == model.encoders["whisper"].width


def test_it_stays_frozen_in_a_trainer():
    encoder = pal_encoder().train()
    assert not any(module.training for module in encoder.encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@torch.no_grad()
def test_there_and_back_again(monkeypatch):
    monkeypatch.setenv("PAL_ENCODER_MODULES", "pal_plugin.hosts.xares.encoder")
    path = "pal_plugin.hosts.xares.encoder.PalEncoder"
    entry = {
        "type": "xares",
        "features": {"window_s": 1.28},
        "model": {"encoder": path, "args": WHISPER},
    }
    torch.manual_seed(0)
    back = build_encoder(**entry).eval()
    clips, audio, mask = padded()
    made = AudioFrontend({"it": entry}).joined({"audio": [(clip, 16000) for clip in clips]})["it"]
    tokens = back(made["features"], made["frames"])
    features, kept = pal_encoder()(audio, mask)
    torch.testing.assert_close(
        tokens.features[tokens.mask], features[kept.bool()], atol=1e-5, rtol=1e-4
    )


def test_what_xares_llm_looks_for():
    """A class by the end of its name, and a forward of two arguments."""
    assert [name for name in vars(module) if name.endswith("Encoder")] == ["PalEncoder"]
    assert list(inspect.signature(PalEncoder.forward).parameters)[1:3] == [
        "audio",
        "audio_attention_mask",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"got of=None and no entry; expected a model as `of`, or an entry"),
        ({"of": "lal", "type": "whisper"}, r"got of='lal' and \['type'\]"),
        ({"of": "lal"}, r"lal has the encoders .*whisper.*choose one with `name`"),
        ({"of": "lal", "name": "whispr"}, r"'whispr' .did you mean 'whisper'"),
        ({"of": "lol"}, r"no model 'lol'"),
        ({"type": "whispr"}, r"'whispr' .did you mean 'whisper'"),
        ({"type": "whisper", "feature": {}}, r"PalEncoder: unknown 'feature' .did you mean"),
        ({"type": "whisper", "cells": "sum"}, r"cells is 'sum'; expected all or mean"),
    ],
)
def test_arguments_that_cannot_be_used(given, message):
    with pytest.raises(ValueError, match=message):
        PalEncoder(**given)


@pytest.mark.parametrize(
    ("audio", "mask", "message"),
    [
        (torch.zeros(100), None, r"audio is torch.float32 \(100,\); expected floating-point"),
        (torch.zeros(1, 100).int(), None, r"audio is torch.int32"),
        (torch.zeros(1, 0), None, r"\(1, 0\)"),
        (torch.zeros(1, 4), torch.ones(1, 5), r"mask is \(1, 5\); expected \(1, 4\)"),
        (torch.zeros(2, 2), torch.tensor([[1, 1], [0, 1]]), r"ones and then zeros.*\[2, 1\]"),
        (torch.zeros(2, 2), torch.tensor([[1, 1], [0, 0]]), r"at least one 1.*\[2, 0\]"),
        (torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]), r"ones and then zeros"),
        (torch.full((1, 400), torch.nan), None, r"(?i)nan|finite"),
    ],
)
def test_audio_that_cannot_be_used(audio, mask, message):
    with pytest.raises(ValueError, match=message):
        pal_encoder()(audio, mask)
