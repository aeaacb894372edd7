"""MLP connector: pooling, masks and padding."""

import pytest
import torch

from pal_plugin.connectors import MLP
from pal_plugin.types import AudioTokens


def mlp(pool, pooling="concat"):
    torch.manual_seed(0)
    connector = MLP({"whisper": 6}, {"whisper": None}, 8, hidden=12, pool=pool, pooling=pooling)
    for parameter in connector.norm.parameters():  # its bias must not reach what is missing
        parameter.data += torch.randn(6)
    return connector


def test_equals_the_layers_written_out():
    connector = mlp(2)
    features = torch.randn(1, 4, 6)
    tokens = AudioTokens(features, torch.ones(1, 4, dtype=torch.bool))
    output = connector({"whisper": tokens}).features
    pairs = torch.cat([connector.norm(features[:, 0::2]), connector.norm(features[:, 1::2])], -1)
    expected = connector.fc2(torch.nn.functional.gelu(connector.fc1(pairs)))
    assert torch.allclose(output, expected, atol=1e-6)


def test_a_mean_is_that_of_the_valid_neighbours_before_the_norm():
    """5, 4, 3 and 0 valid tokens in runs of two; what is padded is NaN."""
    connector, features = mlp(2, "mean"), torch.randn(4, 5, 6)
    mask = torch.arange(5) < torch.tensor([[5], [4], [3], [0]])
    output = connector(
        {"whisper": AudioTokens(features.masked_fill(~mask[..., None], torch.nan), mask)}
    )
    pairs = [[(0, 1), (2, 3), (4,)], [(0, 1), (2, 3)], [(0, 1), (2,)], []]
    assert output.features.isfinite().all()
    assert output.mask.tolist() == [[i < len(p) for i in range(3)] for p in pairs]
    means = [features[c, list(pair)].mean(0) for c, row in enumerate(pairs) for pair in row]
    hidden = torch.nn.functional.gelu(connector.fc1(connector.norm(torch.stack(means))))
    torch.testing.assert_close(
        output.features[output.mask], connector.fc2(hidden), rtol=1e-5, atol=1e-6
    )


def test_pooling_of_one_is_none_either_way():
    tokens = {"whisper": AudioTokens(torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool))}
    concat, mean = mlp(1), mlp(1, "mean")
    mean.load_state_dict(concat.state_dict())
    torch.testing.assert_close(concat(tokens).features, mean(tokens).features)


@pytest.mark.parametrize("pooling", ["concat", "mean"])
def test_a_partial_run_is_kept_and_padding_does_not_matter(pooling):
    connector = mlp(3, pooling)
    features = torch.randn(1, 4, 6)
    short = connector({"whisper": AudioTokens(features, torch.ones(1, 4, dtype=torch.bool))})
    padded = torch.cat([features, torch.full((1, 5, 6), float("nan"))], 1)
    mask = torch.arange(9)[None] < 4
    long = connector({"whisper": AudioTokens(padded, mask)})
    assert short.mask.tolist() == [[True, True]]
    assert long.mask.tolist() == [[True, True, False]]
    assert torch.allclose(long.features[:, :2], short.features, atol=1e-6)


@pytest.mark.parametrize("pooling", ["concat", "mean"])
def test_bfloat16_and_gradients(pooling):
    connector = mlp(2, pooling).bfloat16()
    tokens = AudioTokens(
        torch.randn(2, 5, 6).bfloat16(), torch.arange(5) < torch.tensor([[5], [3]])
    )
    output = connector({"whisper": tokens})
    assert output.features.dtype == torch.bfloat16
    output.features.float().square().sum().backward()
    assert all(p.grad.any() for p in connector.parameters())


def test_errors():
    with pytest.raises(ValueError, match="unknown pooling 'max'; known: concat, mean"):
        mlp(2, "max")
    with pytest.raises(ValueError, match="expected pool >= 1, got 0"):
        mlp(0)
    with pytest.raises(ValueError, match=r"reads one encoder, got \['clap', 'sslam'\]"):
        MLP({"sslam": 4, "clap": 4}, {"sslam": None, "clap": None}, 8)
