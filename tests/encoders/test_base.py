"""The builders: names, windows shared with the features, and what all encoders have in common."""

import pytest
import torch

from pal_plugin.encoders import ENCODERS, build_encoder, build_features
from pal_plugin.encoders.frontend import AudioFrontend

POCKET = {
    "ast": {
        "type": "ast",
        "features": {"window_s": 2.0},
        "model": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
    },
    "sslam": {
        "type": "sslam",
        "features": {"window_s": 2.0},
        "model": {"embed_dim": 16, "depth": 2, "num_heads": 2},
    },
    "clap": {
        "type": "clap",
        "features": {"window_s": 2.0, "n_fft": 2048, "hop_length": 960},
        "model": {
            "spec_size": 128,
            "depths": [1, 1, 1],
            "num_attention_heads": [1, 1, 2],
            "patch_embeds_hidden_size": 8,
        },
    },
    "whisper": {
        "type": "whisper",
        "features": {"window_s": 2.0},
        "model": {
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
        },
    },
    "xares": {
        "type": "xares",
        "features": {"window_s": 2.0},
        "model": {"encoder": "xares_encoders.Attending"},
    },
}


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    monkeypatch.setenv("PAL_ENCODER_MODULES", "xares_encoders")


def pocket_encoder(name: str):
    entry = POCKET[name]
    torch.manual_seed(0)
    return build_encoder(entry["type"], entry["model"], features=entry["features"])


@pytest.mark.parametrize("name", ENCODERS)
def test_windows_become_masked_tokens_with_gradients(name):
    clips = [(torch.randn(samples), 16000) for samples in (320, 40000, 80000)]
    frontend = AudioFrontend({name: POCKET[name]})
    batch = frontend.collate([frontend(clip) for clip in clips])[name]
    encoder = pocket_encoder(name)
    tokens = encoder(batch["features"], batch["frames"])
    assert encoder.window_s == 2.0
    assert tokens.features.shape[0] == sum(batch["windows"]) == 6
    assert tokens.features.shape[2] == encoder.width
    assert tokens.grid == encoder.grid
    share = tokens.mask.float().mean(1)
    assert share[0] > 0
    assert share[0] < 0.13
    torch.testing.assert_close(share[2], torch.tensor(0.25), atol=0.1, rtol=0)
    tokens.features.square().sum().backward()
    silent = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_rows_do_not_depend_on_their_batch(name):
    frontend = AudioFrontend({name: POCKET[name]})
    clips = [frontend((torch.randn(samples), 16000)) for samples in (8000, 30000)]
    encoder = pocket_encoder(name).eval()
    batch = frontend.collate(clips)[name]
    together = encoder(batch["features"], batch["frames"])
    alone = encoder(clips[1][name]["features"], clips[1][name]["frames"])
    torch.testing.assert_close(together.features[1:], alone.features, atol=1e-5, rtol=1e-4)
    assert torch.equal(together.mask[1:], alone.mask)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_encoder_stays_in_eval_mode(name):
    encoder = pocket_encoder(name)
    assert encoder.train().training
    encoder.requires_grad_(False)
    torch.nn.ModuleList([encoder]).train()
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_half_precision_weights_take_float_features(name):
    frontend = AudioFrontend({name: POCKET[name]})
    clip = frontend((torch.randn(8000), 16000))[name]
    tokens = pocket_encoder(name).to(torch.bfloat16).eval()(clip["features"], clip["frames"])
    assert tokens.features.dtype == torch.bfloat16
    assert torch.isfinite(tokens.features).all()


@pytest.mark.parametrize(
    ("name", "model", "features", "message"),
    [
        ("ast", {"num_mel_bins": 128}, {"n_mels": 64}, "'ast': encoder expects 128 mels.*have 64"),
        (
            "sslam",
            {"window_s": 2.56},
            {"window_s": 1.28},
            r"'sslam': encoder windows are 2\.56 s.*1\.28",
        ),
        ("clap", {"window_s": 5.0}, {}, r"'clap': encoder windows are 5\.0 s.*10\.0 s"),
        ("clap", {}, {"window_s": 20.0}, r"'clap': a window of 20\.0 s has 2001 frames.*1024"),
    ],
)
def test_features_that_do_not_fit_are_noticed_when_the_encoder_is_built(
    name, model, features, message
):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_encoder(name, model, features=features)


def test_unknown_names_suggest_the_known():
    with pytest.raises(ValueError, match=r"'sslm' .did you mean 'sslam'.*known: ast, clap, sslam"):
        build_encoder("sslm", {})
    with pytest.raises(ValueError, match=r"'deph' .did you mean 'depth'"):
        build_encoder("sslam", {"deph": 2})
    with pytest.raises(ValueError, match=r"'spec_sizes' .did you mean 'spec_size'"):
        build_encoder("clap", {"spec_sizes": 2})
    with pytest.raises(ValueError, match=r"'windows_s' .did you mean 'window_s'.*n_mels"):
        build_features("whisper", {"windows_s": 2})


def test_missing_and_foreign_checkpoints_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        build_encoder("sslam", {}, tmp_path / "nothing.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        build_encoder("sslam", {}, tmp_path)
    (tmp_path / "weights.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"got weights\.npz"):
        build_encoder("sslam", {}, tmp_path / "weights.npz")
