"""SSLAM against an explicit computation, the reference fixture, and its checkpoint layouts."""

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F
from torchaudio.compliance import kaldi

from pal_plugin.encoders import SSLAM, build_features
from pal_plugin.encoders.sslam import sincos_table

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "sslam_tiny.safetensors"
SIZE = {"embed_dim": 24, "depth": 3, "num_heads": 2, "max_time_cells": 6, "window_s": 0.64}


def reference(weights: dict[str, torch.Tensor], mel: torch.Tensor, heads: int) -> torch.Tensor:
    """SSLAM written out from the table of its parts: `[W, 1, T, 128]` -> `[W, T/16 * 8, D]`."""
    width = weights["cls_token"].shape[-1]

    def norm(x, name):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-6).sqrt() * weights[f"{name}.weight"] + weights[
            f"{name}.bias"
        ]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    # [W, T/16, 8, 256]: the pixels of each patch, time-major
    patches = mel[:, 0].unfold(1, 16, 16).unfold(2, 16, 16).flatten(3)
    time, freq = patches.shape[1:3]
    kernel = weights["patch_embed.proj.weight"].flatten(1)
    x = patches @ kernel.T + weights["patch_embed.proj.bias"]
    for t in range(time):
        for f in range(freq):
            for i in range(width // 4):
                omega = 10000 ** (-i / (width / 4))
                for offset, position in ((0, f), (width // 2, t)):
                    x[:, t, f, offset + i] += math.sin(position * omega)
                    x[:, t, f, offset + width // 4 + i] += math.cos(position * omega)
    x = torch.cat([weights["cls_token"].expand(len(x), 1, width), x.flatten(1, 2)], 1)
    x = norm(x, "norm_pre")
    for n in range(SIZE["depth"]):
        block = f"blocks.{n}"
        qkv = linear(x, f"{block}.attn.qkv").unflatten(-1, (3, heads, width // heads))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weight = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
        attended = linear((weight @ v).transpose(1, 2).flatten(2), f"{block}.attn.proj")
        x = norm(x + attended, f"{block}.norm1")
        hidden = linear(x, f"{block}.mlp.fc1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        x = norm(x + linear(hidden, f"{block}.mlp.fc2"), f"{block}.norm2")
    return x[:, 1:]


@pytest.fixture
def sslam() -> SSLAM:
    torch.manual_seed(0)
    encoder = SSLAM(**SIZE)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    return encoder.eval()


@pytest.fixture
def mel() -> torch.Tensor:
    return torch.randn(2, 1, 64, 128, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_explicit_reference(sslam, mel):
    tokens = sslam(mel)
    assert tokens.grid == sslam.grid == (4, 8)
    assert tokens.mask.all()
    expected = reference(sslam.state_dict(), mel, SIZE["num_heads"])
    torch.testing.assert_close(tokens.features, expected, atol=1e-4, rtol=0)


@pytest.mark.shared
@pytest.mark.skipif(not FIXTURE.exists(), reason="../shared/fixtures is not here")
@torch.no_grad()
def test_published_layout_and_numbers(tmp_path):
    with safe_open(FIXTURE, "pt") as file:
        case = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        size = {k: int(file.metadata()[k]) for k in ("embed_dim", "depth", "num_heads")}
    weights = {key[2:]: value for key, value in case.items() if key.startswith("w.")}
    save_file(weights, tmp_path / "tiny.safetensors")
    encoder = SSLAM.from_checkpoint(tmp_path / "tiny.safetensors", **size).eval()
    torch.testing.assert_close(encoder(case["mel"]).features, case["features"], atol=1e-4, rtol=0)
    torch.testing.assert_close(sincos_table(32, 64, 8), encoder.pos_embed, atol=1e-5, rtol=0)


def as_fairseq(weights: dict) -> dict:
    image = "modality_encoders.IMAGE."
    result = {
        image + "extra_tokens": weights["cls_token"],
        image + "fixed_positional_encoder.positions": sincos_table(24, 6, 8),
        image + "decoder.proj.weight": torch.zeros(3),
    }
    for key, value in weights.items():
        key = key.replace("patch_embed.", image + "local_encoder.")
        result[key.replace("norm_pre.", image + "context_encoder.norm.")] = value
    del result["cls_token"]
    return result


def as_hugging_face(weights: dict) -> dict:
    result = {"model.fixed_positional_encoder.positions": sincos_table(24, 6, 8)}
    for key, value in weights.items():
        key = key.replace("cls_token", "extra_tokens").replace("patch_embed.", "local_encoder.")
        result["model." + key.replace("norm_pre.", "pre_norm.")] = value
    return result


def write_timm(weights, path):
    save_file({**weights, "pos_embed": sincos_table(24, 6, 8)}, path / "w.safetensors")
    return path / "w.safetensors"


def write_own(weights, path):
    save_file(weights, path / "w.safetensors")
    return path / "w.safetensors"


def write_hugging_face(weights, path):
    save_file(as_hugging_face(weights), path / "model.safetensors")
    return path


def write_fairseq(weights, path):
    content = {**as_fairseq(weights), "_ema": {"norm.weight": torch.zeros(3)}}
    torch.save({"model": content, "args": None}, path / "w.pt")
    return path / "w.pt"


def write_fine_tuned(weights, path):
    content = {f"model.{key}": value for key, value in as_fairseq(weights).items()}
    head = {"model.fc_norm.weight": torch.zeros(24), "model.head.bias": torch.zeros(527)}
    torch.save({"model": {**content, **head}}, path / "w.pt")
    return path / "w.pt"


@pytest.mark.parametrize(
    "write", [write_timm, write_own, write_hugging_face, write_fairseq, write_fine_tuned]
)
@torch.no_grad()
def test_checkpoint_layouts(sslam, mel, tmp_path, write):
    path = write(sslam.state_dict(), tmp_path)
    loaded = SSLAM.from_checkpoint(path, **SIZE).eval()
    torch.testing.assert_close(loaded(mel).features, sslam(mel).features)


def test_every_wrong_key_is_named(sslam, tmp_path):
    weights = sslam.state_dict()
    del weights["norm_pre.bias"]
    weights["blocks.7.norm1.bias"] = torch.zeros(24)
    weights["cls_token"] = torch.zeros(1, 1, 5)
    with pytest.raises(ValueError, match="does not fit SSLAM") as error:
        SSLAM.from_checkpoint(write_own(weights, tmp_path), **SIZE)
    for part in (
        "missing keys: norm_pre.bias",
        "unexpected keys: blocks.7.norm1.bias",
        "cls_token: checkpoint (1, 1, 5), model (1, 1, 24)",
    ):
        assert part in str(error.value)


def test_objects_in_a_torch_file_are_not_unpickled(tmp_path):
    torch.save({"model": {}, "args": Path("anything")}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="not unpickled"):
        SSLAM.from_checkpoint(tmp_path / "w.pt", **SIZE)


@torch.no_grad()
def test_mask_follows_the_frames(sslam, mel):
    mask = sslam(mel, torch.tensor([1, 33])).mask
    assert mask.view(2, 4, 8).all(-1).tolist() == [[True] + 3 * [False], 3 * [True] + [False]]
    assert mask.sum(1).tolist() == [8, 24]


def test_wrong_inputs_are_explained(sslam):
    with pytest.raises(ValueError, match="covers 6 time cells, the input has 7"):
        sslam(torch.zeros(1, 1, 112, 128))
    with pytest.raises(ValueError, match="multiple of 16"):
        sslam(torch.zeros(1, 1, 60, 128))
    with pytest.raises(ValueError, match=r"expected frames \[1\]"):
        sslam(torch.zeros(1, 1, 64, 128), torch.tensor([1, 2]))


def test_front_end_is_the_reference_recipe():
    samples = torch.rand(160000, generator=torch.Generator().manual_seed(0)) - 0.2
    made = build_features("sslam")(samples)
    expected = kaldi.fbank(
        (samples - samples.mean())[None],
        htk_compat=True,
        sample_frequency=16000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )
    expected = (F.pad(expected, (0, 0, 0, 1024 - 998)) + 4.268) / (2 * 4.569)
    assert made["frames"].tolist() == [998]
    torch.testing.assert_close(made["features"], expected[None, None])
    assert made["features"][0, 0, -1, 0].item() == pytest.approx(0.4671, abs=1e-4)


def test_long_clips_are_one_spectrum_cut_in_windows():
    samples = torch.randn(5 * 16000, generator=torch.Generator().manual_seed(0))
    whole = build_features("sslam", {"window_s": 10.0})(samples)["features"][0, 0]
    cut = build_features("sslam", {"window_s": 2.0})(samples)
    assert cut["features"].shape == (3, 1, 224, 128)
    assert cut["frames"].tolist() == [200, 200, 98]
    torch.testing.assert_close(cut["features"][:, 0, :200].flatten(0, 1)[:498], whole[:498])


def test_default_size_is_the_published_one():
    with torch.device("meta"):
        encoder = SSLAM(max_time_cells=1)
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert millions == pytest.approx(85.25, abs=0.01)
    assert encoder.grid == (64, 8)
