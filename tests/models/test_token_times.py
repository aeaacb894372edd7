"""Seconds of audio tokens: of every connector, over several windows, with and without overlap."""

import copy

import numpy as np
import pytest
import torch

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.models.token_times import encode_with_times

RATE_HZ = 16_000


def clip(seconds):
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    return (0.1 * noise).astype(np.float32), RATE_HZ


@pytest.fixture
def built(tiny_config):
    """`built(overlap_s, connectors)` -> a tiny model with other windows or connectors."""

    def build(overlap_s=0.0, **connectors):
        config = copy.deepcopy(tiny_config("lal"))
        for encoder in config["encoders"].values():
            encoder["features"] = {**encoder["features"], "overlap_s": overlap_s}
        config["connectors"] |= connectors
        config["routing"] |= {group: {"integration": "lal"} for group in connectors}
        torch.manual_seed(0)
        return AudioLLM(**build_components(config)).eval()

    return build


def valid(model, clips, group):
    """Times of the tokens of each clip, padding left out."""
    encoded, times = encode_with_times(model, clips)
    assert times[group].shape == (*encoded[group].mask.shape, 2)
    expected = model.encode_audio({"audio": clips})
    torch.testing.assert_close(encoded[group].features, expected[group].features)
    return [of[mask] for of, mask in zip(times[group], encoded[group].mask, strict=True)]


@pytest.mark.parametrize("overlap_s", [0.0, 0.64])
def test_tokens_follow_each_other_from_the_start_to_the_end_of_the_clip(built, overlap_s):
    model, lengths = built(overlap_s), [0.4, 1.28, 3.0, 4.6]
    clips = [clip(seconds) for seconds in lengths]
    token_s = 8 / 50  # Whisper's 50 positions per second, eight of them pooled
    for seconds, speech in zip(lengths, valid(model, clips, "speech"), strict=True):
        expected = torch.arange(len(speech)) * token_s
        torch.testing.assert_close(speech, torch.stack([expected, expected + token_s], 1))
        assert speech[-1, 0] < seconds <= speech[-1, 1] + 1e-5
    row_s = 1.28 / 4  # LFST's rows, each of four cells and a newline
    for seconds, general in zip(lengths, valid(model, clips, "general"), strict=True):
        rows = torch.arange(len(general)) // 5
        torch.testing.assert_close(general, torch.stack([rows, rows + 1], 1) * row_s)
        assert general[-1, 0] < seconds <= general[-1, 1] + 1e-5


def test_a_pool_that_does_not_fit_the_window_ends_with_a_shorter_token(built):
    speech = {"type": "mlp", "encoders": ["whisper"], "args": {"pool": 10}}
    times = valid(built(speech=speech), [clip(2.0)], "speech")[0]
    starts = [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.28, 1.48, 1.68, 1.88]
    torch.testing.assert_close(times[:, 0], torch.tensor(starts))
    torch.testing.assert_close(times[:-1, 1], times[1:, 0])


def test_pooled_cells_of_a_grid_have_the_time_of_their_rows(built):
    connectors = {
        "general": {"type": "mlp", "encoders": ["sslam"], "args": {"pool": 2}},
        "clap": {"type": "mlp", "encoders": ["clap"], "args": {"pool": 1}},
    }
    model = built(**connectors)
    times = valid(model, [clip(1.28)], "general")[0]
    rows, cells = model.encoders["sslam"].grid
    assert len(times) == rows * cells // 2
    first = torch.arange(len(times)) // (cells // 2)
    torch.testing.assert_close(times, torch.stack([first, first + 1], 1) * 1.28 / rows)


def test_tokens_of_queries_have_the_time_of_their_window(built):
    sizes = {"queries": 3, "hidden": 16, "layers": 1, "heads": 2}
    speech = {"type": "qformer", "encoders": ["whisper"], "args": sizes}
    times = valid(built(speech=speech), [clip(2.0)], "speech")[0]
    windows = [[0, 1.28]] * 3 + [[1.28, 2.56]] * 3
    torch.testing.assert_close(times, torch.tensor(windows))
