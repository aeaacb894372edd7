"""CLAP: features against the stock extractor, the grid's axes, checkpoints, frozen BatchNorm."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from pal_plugin.encoders import CLAP, build_features

RATE_HZ = 48000
FEATURES = {"window_s": 5.0, "n_fft": 2048, "hop_length": 960}
SIZE = {
    "spec_size": 128,
    "depths": [1, 1, 1],
    "num_attention_heads": [1, 1, 2],
    "patch_embeds_hidden_size": 8,
}


def clip(kind: str, seconds: float) -> torch.Tensor:
    time_s = torch.arange(round(seconds * RATE_HZ), dtype=torch.float64) / RATE_HZ
    if kind == "noise":
        return 0.1 * torch.randn(len(time_s), generator=torch.Generator().manual_seed(0))
    return (0.3 * torch.sin(2 * math.pi * (100 + 600 * time_s) * time_s)).float()


# A sweep has bins far below its frame's peak, where float32 and float64 part.
@pytest.mark.parametrize(("kind", "tolerance_db"), [("noise", 1e-3), ("sweep", 0.1)])
@pytest.mark.parametrize("seconds", [0.02, 3.3, 10.0])
def test_features_equal_the_stock_extractor(kind, tolerance_db, seconds):
    waveform = clip(kind, seconds)
    extractor = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="pad"
    )
    stock = extractor(waveform.numpy(), sampling_rate=RATE_HZ, return_tensors="np")
    expected = torch.from_numpy(np.asarray(stock["input_features"], dtype=np.float32))
    made = build_features("clap")(waveform)
    assert made["features"].shape == expected.shape == (1, 1, 1001, 64)
    error_db = (made["features"] - expected).abs()
    assert error_db.max() < tolerance_db
    assert error_db.mean() < 5e-3
    assert made["frames"].tolist() == [math.ceil(round(seconds * RATE_HZ) / 480)]


@pytest.fixture(scope="module")
def clap() -> CLAP:
    torch.manual_seed(0)
    return CLAP(window_s=5.0, **SIZE).eval()


@pytest.mark.parametrize(
    ("size", "grid", "width"),
    [
        (SIZE, (16, 4), 32),
        ({**SIZE, "spec_size": 256, "num_mel_bins": 64}, (64, 4), 32),
        (
            {"depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]}
            | {"patch_embeds_hidden_size": 8},
            (32, 2),
            64,
        ),
    ],
)
@torch.no_grad()
def test_grid_and_width_follow_the_configuration(size, grid, width):
    encoder = CLAP(**size).eval()
    frames = encoder.max_frames - 20
    tokens = encoder(torch.randn(1, 1, frames, 64), torch.tensor([frames // 2]))
    assert (encoder.grid, encoder.width) == (grid, width)
    assert tokens.grid == grid
    assert tokens.features.shape == (1, grid[0] * grid[1], width)
    assert tokens.mask.sum() == grid[0] * grid[1] // 2


@torch.no_grad()
def test_columns_run_in_time_and_rows_from_low_to_high(clap):
    features = build_features("clap", FEATURES)
    quiet = 1e-3 * clip("noise", 5.0)
    time_s = torch.arange(len(quiet)) / RATE_HZ

    def change(hz: float, start_s: float) -> torch.Tensor:
        """Change of each cell `[t, f]` by a tone of 0.6 s."""
        sounding = (time_s >= start_s) & (time_s < start_s + 0.6)
        burst = torch.sin(2 * math.pi * hz * time_s) * sounding
        made = [clap(features(w)["features"]).cells() for w in (quiet, quiet + 0.3 * burst)]
        return (made[1] - made[0])[0].norm(dim=-1)

    assert change(800.0, 0.2).sum(1).argmax() <= 3
    assert 6 <= change(800.0, 2.3).sum(1).argmax() <= 10
    assert change(800.0, 4.3).sum(1).argmax() >= 12
    assert change(100.0, 2.0).sum(0).argmax() == 0
    assert change(11000.0, 2.0).sum(0).argmax() == 3


@torch.no_grad()
def test_tokens_are_the_map_before_pooling(clap):
    mel = build_features("clap", FEATURES)(clip("sweep", 5.0))["features"]
    pooled = clap.audio_model(mel).pooler_output
    torch.testing.assert_close(clap(mel).features.mean(1), pooled)


def test_folder_and_file_of_a_whole_clap_model(clap, tmp_path):
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    text |= {"intermediate_size": 8, "projection_dim": 8}
    config = ClapConfig(
        text_config=text, audio_config=clap.audio_model.config.to_dict(), projection_dim=8
    )
    whole = ClapModel(config).eval()
    whole.save_pretrained(tmp_path)
    save_file(clap.state_dict(), tmp_path / "own.safetensors")
    mel = build_features("clap", FEATURES)(clip("sweep", 2.0))["features"]
    loaded = CLAP.from_checkpoint(tmp_path).eval()
    own = CLAP.from_checkpoint(tmp_path / "own.safetensors", **SIZE).eval()
    with torch.no_grad():
        expected = whole.audio_model(mel).last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2)
        torch.testing.assert_close(loaded(mel).features, expected)
        torch.testing.assert_close(own(mel).features, clap(mel).features)


def test_wrong_keys_are_named(clap, tmp_path):
    weights = clap.state_dict()
    weights["audio_model.audio_encoder.extra"] = weights.pop(
        "audio_model.audio_encoder.norm.weight"
    )
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=r"norm\.weight; unexpected keys: .*extra"):
        CLAP.from_checkpoint(tmp_path / "wrong.safetensors", **SIZE)


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    encoder = CLAP(**SIZE)
    norm = encoder.audio_model.audio_encoder.batch_norm
    norm.requires_grad_(False)
    encoder.train()
    assert encoder.training
    assert not norm.training
    before = norm.running_mean.clone()
    encoder(torch.randn(2, 1, 251, 64))
    assert torch.equal(norm.running_mean, before)
    norm.requires_grad_(True)
    encoder.train()
    encoder(torch.randn(2, 1, 251, 64))
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enable_fusion": True}, "fused CLAP"),
        ({"spec_size": 100}, "multiple of num_mel_bins"),
        ({"num_mel_bins": 8}, "grid is not an integer"),
        ({"depths": [1] * 4, "num_attention_heads": [1] * 4}, "less than window_size"),
    ],
)
def test_impossible_sizes_are_explained(change, message):
    with pytest.raises(ValueError, match=message):
        CLAP(**{**SIZE, **change})


def test_wrong_inputs_are_explained(clap):
    with pytest.raises(ValueError, match=r"T <= 256, 64\], got \(1, 1, 300, 64\)"):
        clap(torch.zeros(1, 1, 300, 64))
