"""MLP connector: pooling, masks and padding."""

import pytest
import torch

from pal_plugin.connectors import MLP
from pal_plugin.types import AudioTokens


def mlp(pool):
    torch.manual_seed(0)
    return MLP({"whisper": 6}, {"whisper": None}, 8, hidden=12, pool=pool)


def test_equals_the_layers_written_out():
    connector = mlp(2)
    features = torch.randn(1, 4, 6)
    tokens = AudioTokens(features, torch.ones(1, 4, dtype=torch.bool))
    output = connector({"whisper": tokens}).features
    pairs = torch.cat([connector.norm(features[:, 0::2]), connector.norm(features[:, 1::2])], -1)
    expected = connector.fc2(torch.nn.functional.gelu(connector.fc1(pairs)))
    assert torch.allclose(output, expected, atol=1e-6)


def test_a_partial_run_is_kept_and_padding_does_not_matter():
    connector = mlp(3)
    features = torch.randn(1, 4, 6)
    short = connector({"whisper": AudioTokens(features, torch.ones(1, 4, dtype=torch.bool))})
    padded = torch.cat([features, torch.full((1, 5, 6), float("nan"))], 1)
    mask = torch.arange(9)[None] < 4
    long = connector({"whisper": AudioTokens(padded, mask)})
    assert short.mask.tolist() == [[True, True]]
    assert long.mask.tolist() == [[True, True, False]]
    assert torch.allclose(long.features[:, :2], short.features, atol=1e-6)


def test_one_encoder_only():
    with pytest.raises(ValueError, match=r"reads one encoder, got \['clap', 'sslam'\]"):
        MLP({"sslam": 4, "clap": 4}, {"sslam": None, "clap": None}, 8)
