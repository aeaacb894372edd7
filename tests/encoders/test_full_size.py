"""The published sizes: parameters counted by formula, and the shapes at full windows.

Everything is on the meta device: shapes without memory or arithmetic.
"""

import pytest
import torch

from pal_plugin.encoders import CLAP, SSLAM, Whisper

WHISPER = {
    "tiny": (384, 4, 6, 80),
    "small": (768, 12, 12, 80),
    "large-v3": (1280, 32, 20, 128),
}


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + outputs * bias


def norm(width: int) -> int:
    return 2 * width


def parameters(module: torch.nn.Module, trained: bool = True) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def sslam_count(width: int, depth: int) -> int:
    block = linear(width, 3 * width) + linear(width, width) + 2 * norm(width)
    block += linear(width, 4 * width) + linear(4 * width, width)
    patches = linear(16 * 16, width)
    return width + patches + norm(width) + depth * block  # the first width: CLS


def test_sslam_base():
    with torch.device("meta"):
        encoder = SSLAM()
    assert parameters(encoder) == sslam_count(768, 12)
    assert sslam_count(768, 12) / 1e6 == pytest.approx(85.25, abs=0.005)
    assert encoder.pos_embed.shape == (1, 768 * 8, 768)
    assert encoder.pos_embed.numel() / 1e6 == pytest.approx(4.72, abs=0.005)
    tokens = encoder(torch.empty(2, 1, 1024, 128, device="meta"))
    assert tokens.features.shape == (2, 64 * 8, 768)
    assert tokens.grid == encoder.grid == (64, 8)


def clap_count() -> int:
    """HTSAT of LAION's unfused CLAP: a Swin of four stages on a 256 x 256 image of the spectrum."""
    width, depths, heads, window = 96, (2, 2, 6, 2), (4, 8, 16, 32), 8
    total = norm(64)  # the BatchNorm over 64 mels
    total += linear(4 * 4, width) + norm(width)  # patches of 4 x 4
    for stage, (depth, head) in enumerate(zip(depths, heads, strict=True)):
        wide = width * 2**stage
        block = 4 * linear(wide, wide) + head * (2 * window - 1) ** 2  # attention and its bias
        block += linear(wide, 4 * wide) + linear(4 * wide, wide) + 2 * norm(wide)
        total += depth * block
        if stage < 3:
            total += norm(4 * wide) + linear(4 * wide, 2 * wide, bias=False)
    return total + norm(width * 8)


def test_clap():
    with torch.device("meta"):
        encoder = CLAP()
    assert parameters(encoder) == clap_count()
    assert clap_count() / 1e6 == pytest.approx(27.5, abs=0.05)
    tokens = encoder(torch.empty(2, 1, 1001, 64, device="meta"))
    assert tokens.features.shape == (2, 32 * 2, 768)
    assert tokens.grid == encoder.grid == (32, 2)
    assert encoder.width == 768


def whisper_count(width: int, layers: int, mels: int) -> tuple[int, int]:
    """(parameters, those of them in the fixed position table)."""
    block = linear(width, 3 * width) - width + linear(width, width) + 2 * norm(width)  # no key bias
    block += linear(width, 4 * width) + linear(4 * width, width)
    convolutions = linear(3 * mels, width) + linear(3 * width, width)
    positions = 1500 * width
    return convolutions + positions + layers * block + norm(width), positions


@pytest.mark.parametrize("name", WHISPER)
def test_whisper(name):
    width, layers, heads, mels = WHISPER[name]
    with torch.device("meta"):
        encoder = Whisper(
            d_model=width,
            encoder_layers=layers,
            encoder_attention_heads=heads,
            encoder_ffn_dim=4 * width,
            num_mel_bins=mels,
        )
    total, positions = whisper_count(width, layers, mels)
    assert parameters(encoder, trained=False) == total
    assert parameters(encoder) == total - positions
    if name == "small":
        assert total / 1e6 == pytest.approx(88.15, abs=0.01)
    tokens = encoder(torch.empty(2, mels, 3000, device="meta"))
    assert tokens.features.shape == (2, 1500, width)
    assert encoder.window_s == 30.0
