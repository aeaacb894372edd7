"""The states of frozen encoders: cached equals uncached, and nothing wrong is ever read."""

import copy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pal_plugin.encoders import build_encoder
from pal_plugin.encoders import cache as cache_module
from pal_plugin.encoders.cache import CacheSettings, EncoderCache, encode_audio
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.utils.errors import ConfigError

ENTRIES = {
    "sslam": {
        "type": "sslam",
        "features": {"window_s": 1.28},
        "model": {"embed_dim": 24, "depth": 1, "num_heads": 2},
    },
    "clap": {
        "type": "clap",
        "features": {"window_s": 1.28, "n_fft": 2048},
        "model": {
            "spec_size": 128,
            "depths": [1, 1, 1],
            "num_attention_heads": [1, 1, 2],
            "patch_embeds_hidden_size": 8,
            "window_size": 4,
        },
    },
    "whisper": {
        "type": "whisper",
        "features": {"window_s": 1.28},
        "model": {
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
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
#: Of batches that are composed in another way than when the states were made.
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def clips(*seconds):
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal(round(s * 16000)).astype(np.float32) * 0.1, 16000) for s in seconds
    ]


def heard(folder, kind="sslam", **cache):
    """Encoder, front end that looks in the cache, cache and the same front end without one."""
    torch.manual_seed(0)
    entry = ENTRIES[kind]
    encoder = build_encoder(**entry).requires_grad_(False).eval()
    frontend = AudioFrontend({"it": {**entry, "cache": {"folder": str(folder), **cache}}})
    kept = EncoderCache("it", frontend.caches["it"])
    frontend.look_in({"it": kept.open(encoder, frontend.features["it"])})
    plain = AudioFrontend({"it": entry})
    return SimpleNamespace(encoder=encoder, frontend=frontend, cache=kept, plain=plain)


@torch.no_grad()
def tokens_of(it, batch, frontend=None):
    """Tokens of a batch of clips; through the cache, which then holds it."""
    frontend = frontend or it.frontend
    audio = frontend.collate([frontend(clip) for clip in batch])
    (tokens,) = dict(encode_audio({"it": it.encoder}, {"it": it.cache}, audio)).values()
    it.cache.flush()
    return tokens, audio["it"]


@pytest.mark.parametrize("kind", list(ENTRIES))
def test_cached_equals_uncached_bit_for_bit_and_is_not_computed(tmp_path, kind, monkeypatch):
    it = heard(tmp_path, kind)
    batch = clips(1.0, 0.3, 3.1)
    expected, plain = tokens_of(it, batch, it.plain)
    made, missed = tokens_of(it, batch)
    assert all(missed["keys"])
    monkeypatch.setattr(type(it.encoder), "forward", None)  # neither encoder nor decoder is needed
    monkeypatch.setattr(AudioFrontend, "make", None)
    cached, known = tokens_of(it, batch)
    assert known["keys"] == [""] * 3
    assert "features" not in known
    for tokens in (made, cached):
        assert tokens.grid == expected.grid
        assert tokens.features.dtype == expected.features.dtype
        assert torch.equal(tokens.mask, expected.mask)
        assert torch.equal(tokens.features[tokens.mask], expected.features[expected.mask])
    for key in ("frames", "windows"):
        assert torch.equal(known[key], plain[key])
    assert known["states"].shape[0] == int(expected.mask.sum()) < expected.mask.numel()


@pytest.mark.parametrize("kind", list(ENTRIES))
def test_known_and_unknown_clips_of_a_batch_come_in_order(tmp_path, kind):
    it = heard(tmp_path, kind)
    batch = clips(1.0, 0.3, 3.1, 0.7, 1.4)
    tokens_of(it, [batch[3], batch[2]])
    expected, _ = tokens_of(it, batch, it.plain)
    mixed, entry = tokens_of(it, batch)
    assert [bool(key) for key in entry["keys"]] == [True, True, False, False, True]
    assert torch.equal(mixed.mask, expected.mask)
    torch.testing.assert_close(
        mixed.features[mixed.mask], expected.features[expected.mask], **TOLERANCE
    )


def test_only_missing_encoders_features_are_made(tmp_path, monkeypatch):
    one, two = heard(tmp_path, "sslam"), heard(tmp_path, "whisper")
    entries = {"sslam": ENTRIES["sslam"], "whisper": ENTRIES["whisper"]}
    frontend = AudioFrontend(entries)
    frontend.look_in({"sslam": one.cache.shards, "whisper": two.cache.shards})
    (clip,) = clips(1.0)
    tokens_of(one, [clip])
    asked = []
    make = AudioFrontend.make
    monkeypatch.setattr(
        AudioFrontend, "make", lambda self, s, names: asked.append(names) or make(self, s, names)
    )
    found = frontend(clip)
    assert asked == [["whisper"]]
    assert list(found) == ["sslam", "whisper"]
    assert "states" in found["sslam"]
    assert found["whisper"]["key"]


def test_a_caller_that_knows_nothing_of_the_cache_is_served_as_without(tmp_path):
    it = heard(tmp_path)
    tokens_of(it, clips(1.0), it.plain)
    assert len(it.cache.shards) == 0


def space_of(it, features=None):
    return (
        EncoderCache("x", it.cache.settings)
        .open(it.encoder, features or it.plain.features["it"])
        .space
    )


def test_the_space_is_that_of_weights_and_settings_and_not_of_names(tmp_path):
    it = heard(tmp_path)
    space = it.cache.shards.space
    assert space_of(it) == space
    assert space_of(heard(tmp_path / "elsewhere")) == space


@pytest.mark.slow
def test_another_process_finds_the_same_spaces(tmp_path):
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
from tests.encoders.test_cache import ENTRIES, heard
print(*(heard({str(tmp_path)!r}, kind).cache.shards.space for kind in ENTRIES))
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()[-1]
    assert told.split() == [heard(tmp_path, kind).cache.shards.space for kind in ENTRIES]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.encoder.cls_token.add_(1e-3),
        lambda it: it.encoder.pos_embed.add_(1e-3),  # a buffer that is not saved
        lambda it: it.encoder.double(),
        lambda it: it.encoder.select_hidden_states([0, 1]),
        lambda it: setattr(it.encoder.blocks[0].attn, "scale", 0.5),
        lambda it: setattr(it.plain.features["it"], "precision", "exact"),
        lambda it: setattr(it.plain.features["it"], "max_s", 5.0),
        lambda it: setattr(it.cache, "settings", CacheSettings(dtype="half")),
    ],
)
@torch.no_grad()
def test_whatever_changes_the_states_changes_the_space(tmp_path, change):
    it = heard(tmp_path)
    change(it)
    assert space_of(it) != it.cache.shards.space


def test_precision_and_versions_change_the_space(tmp_path, monkeypatch):
    it = heard(tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        assert space_of(it) != it.cache.shards.space
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert space_of(it) != it.cache.shards.space
    finally:
        torch.set_float32_matmul_precision(before)
    assert space_of(it) == it.cache.shards.space
    for name in ("libsndfile", "torchaudio"):
        versions = {**cache_module.versions(), name: "0"}
        monkeypatch.setattr(cache_module, "versions", lambda versions=versions: versions)
        assert space_of(it) != it.cache.shards.space


@torch.no_grad()
def test_an_encoder_that_changes_behind_the_caches_back_is_refused(tmp_path):
    it = heard(tmp_path)
    tokens_of(it, clips(1.0))
    it.encoder.cls_token.add_(1.0)
    with pytest.raises(ConfigError, match=r"'it'.*have changed"):
        tokens_of(it, clips(1.0))


def test_an_encoder_that_trains_is_refused_by_name(tmp_path):
    it = heard(tmp_path)
    features = it.plain.features["it"]
    trained = copy.deepcopy(it.encoder).requires_grad_(True)
    with pytest.raises(
        ConfigError, match=r"encoders\.it\.cache.*parameters are trainable: cls_token"
    ):
        it.cache.open(trained, features)
    lora = copy.deepcopy(it.encoder)
    lora.blocks[0].attn.lora_A = torch.nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="lora_A"):
        it.cache.open(lora, features)
    with pytest.raises(ConfigError, match="training mode"):
        it.cache.open(torch.nn.Module.train(copy.deepcopy(it.encoder)), features)


def test_batch_norm_in_training_mode_is_refused_by_name(tmp_path):
    it = heard(tmp_path, "clap")
    norm = next(m for m in it.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.train()
    with pytest.raises(ConfigError, match="BatchNorm2d"):
        tokens_of(it, clips(1.0))


def test_half_is_smaller_and_the_same_from_the_first_time_on(tmp_path):
    it = heard(tmp_path, dtype="half")
    batch = clips(1.0, 0.4)
    expected, _ = tokens_of(it, batch, it.plain)
    made, _ = tokens_of(it, batch)
    cached, entry = tokens_of(it, batch)
    assert entry["states"].dtype == torch.float16
    assert cached.features.dtype == made.features.dtype == torch.float32
    assert torch.equal(cached.features[cached.mask], made.features[made.mask])
    torch.testing.assert_close(
        cached.features[cached.mask], expected.features[expected.mask], atol=1e-3, rtol=1e-3
    )


@torch.no_grad()
def test_half_is_refused_where_it_cannot_hold_the_states(tmp_path):
    it = heard(tmp_path, dtype="half")
    it.encoder.blocks[0].norm2.weight.fill_(1e5)
    it.cache.open(it.encoder, it.plain.features["it"])
    it.frontend.look_in({"it": it.cache.shards})
    with pytest.raises(ConfigError, match=r"encoders\.it\.cache\.dtype=half: a state is"):
        tokens_of(it, clips(1.0))


@torch.no_grad()
def test_states_that_are_not_finite_are_not_kept(tmp_path):
    it = heard(tmp_path)
    it.encoder.blocks[0].norm2.bias.fill_(float("nan"))
    it.cache.open(it.encoder, it.plain.features["it"])
    it.frontend.look_in({"it": it.cache.shards})
    tokens, _ = tokens_of(it, clips(1.0))
    assert tokens.features.isnan().all()
    assert len(it.cache.shards) == 0


def test_processes_that_hear_the_same_clips_store_each_once(tmp_path):
    three = [heard(tmp_path) for _ in range(3)]
    batch = clips(*(0.2 + 0.1 * i for i in range(9)))
    audio = three[0].frontend.collate([three[0].frontend(clip) for clip in batch])
    for rank, it in enumerate(three):
        it.cache.part = (rank, 3)
        it.cache(it.encoder, audio["it"])
    for it in three:
        it.cache.flush()
    assert len(three[0].cache.shards) == 9
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.safetensors")]
    states = sum(it.cache.token_bytes * 8 * -(-round(20 + 10 * i) // 16) for i in range(9))
    assert len(sizes) == 3
    assert states < sum(sizes) < 1.5 * states + 3 * 4096


@pytest.mark.parametrize("given", [None, False])
def test_nothing_is_kept_unless_asked_for(given):
    assert CacheSettings.of({"cache": given}, "x") is None
    assert CacheSettings.of({}, "x") is None


def test_true_is_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_CACHE", str(tmp_path))
    settings = CacheSettings.of({"cache": True}, "x")
    assert settings == CacheSettings()
    assert settings.root == tmp_path / "encoder_states"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("yes", "expected true, false, or settings"),
        ({"dytpe": "half"}, "did you mean 'dtype'"),
        ({"dtype": "int8"}, "expected half"),
        ({"variants": 0}, "expected 1 or more"),
        ({"variants": True}, "expected 1 or more"),
        ({"limit_gb": 0}, "positive"),
    ],
)
def test_settings_that_cannot_be_used_name_the_encoder(given, says):
    with pytest.raises(ValueError, match=f"'clap'.*{says}"):
        CacheSettings.of({"cache": given}, "clap")


def test_all_encoders_hear_the_same_variants():
    entries = {n: {"type": n, "cache": {"variants": v}} for n, v in (("sslam", 2), ("clap", 3))}
    with pytest.raises(ValueError, match=r"cache\.variants must be equal"):
        AudioFrontend(entries)
