"""Windows become one sequence: in time order, nothing missing, nothing twice, for any length."""

import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from pal_plugin.encoders import AudioEncoder, AudioFeatures, build_encoder
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.windows import Overlap, check_groups, merge_windows, overlap_of
from pal_plugin.types import AudioTokens

RATE_HZ, ROW_S = 100, 0.1  # a token stands for 10 samples


class Clock(AudioFeatures):
    """Features of a clip whose samples are their own numbers: the clip's number of each row."""

    def __init__(self, window_s=2.0, overlap_s=0.0, **windowing):
        super().__init__(RATE_HZ, window_s, overlap_s, **windowing)

    def extract(self, clips):
        rows = self.window_samples // 10
        made = torch.full((sum(len(self.window_lengths(len(c))) for c in clips), rows), -1.0)
        windows = self.cut(clips)
        for row, samples in zip(made, windows, strict=True):
            row[: len(samples[::10])] = samples[::10] / 10
        return made, [len(samples[::10]) for samples in windows]


class Ear(AudioEncoder):
    """Tokens that are their time: row number, and place within the row."""

    def __init__(self, cells=None, window_s=2.0):
        super().__init__()
        self.window_s, self.cells = window_s, cells
        self.grid = cells and (round(window_s / ROW_S), cells)

    def forward(self, features, frames):
        cells = self.cells or 1
        place = torch.arange(cells).expand(*features.shape, cells)
        tokens = torch.stack([features[..., None].expand_as(place), place], -1).flatten(1, 2)
        mask = torch.arange(features.shape[1]) < frames[:, None]
        return AudioTokens(tokens, mask.repeat_interleave(cells, 1), self.grid)


def merged(lengths, overlap_s, cells=None, connector=None):
    """Clips of so many samples through front end, encoder and merging."""
    features, encoder = Clock(overlap_s=overlap_s), Ear(cells)
    made = features.batch([torch.arange(n, dtype=torch.float32) for n in lengths])
    tokens = encoder(made["features"], made["frames"])
    connector = connector or nn.Identity()
    overlap = overlap_of(connector, [encoder], [features], tokens)
    return merge_windows(connector(tokens), made["windows"], overlap)


@pytest.mark.parametrize("cells", [None, 1, 3])
@pytest.mark.parametrize("overlap_s", [0.0, 0.2, 0.4, 1.0, 1.8])
def test_every_moment_is_there_once_and_in_order(overlap_s, cells):
    lengths = [1, 9, 10, 190, 199, 200, 201, 359, 360, 361, 555, 1000]
    tokens = merged(lengths, overlap_s, cells)
    for row, samples in enumerate(lengths):
        heard = tokens.features[row][tokens.mask[row]]
        rows = math.ceil(samples / 10)
        expected = [(t, c) for t in range(rows) for c in range(cells or 1)]
        assert heard.tolist() == [[float(t), float(c)] for t, c in expected]
        assert tokens.mask[row, : rows * (cells or 1)].all()  # and no gap between windows
    if cells:
        assert tokens.grid == (tokens.features.shape[1] // cells, cells)
        times = tokens.cells()[-1, ..., 0]
        assert torch.equal(times[:, :1].expand_as(times), times)  # rows are whole


def test_kept_tokens_have_half_the_overlap_around_them():
    features = Clock(overlap_s=0.4)
    made = features.batch([torch.arange(520, dtype=torch.float32)])  # windows at 0, 16 and 32 rows
    tokens = Ear()(made["features"], made["frames"])
    window = torch.arange(3.0)[:, None].expand(3, 20)
    marked = AudioTokens(torch.stack([tokens.features[..., 0], window], -1), tokens.mask)
    overlap = overlap_of(nn.Identity(), [Ear()], [features], tokens)
    kept = merge_windows(marked, made["windows"], overlap).features[0]
    assert kept[:, 0].tolist() == list(range(52))
    assert kept[:, 1].tolist() == [0] * 18 + [1] * 16 + [2] * 18


def test_without_overlap_windows_are_just_joined():
    tokens = AudioTokens(torch.randn(4, 6, 5), torch.rand(4, 6) < 0.5, (3, 2))
    made = merge_windows(tokens, torch.tensor([1, 3]))
    assert torch.equal(made.features[0, :6], tokens.features[0])
    assert torch.equal(made.features[1], tokens.features[1:].reshape(18, 5))
    assert torch.equal(made.mask[1], tokens.mask[1:].reshape(18))
    assert not made.mask[0, 6:].any()
    assert made.grid == (9, 2)
    alone = tokens.select(torch.tensor([0, 1]))
    assert merge_windows(alone, torch.tensor([1, 1])) is alone


class Newline(nn.Module):
    """Pairs of time rows become one, closed by a newline, as LFST would."""

    def forward(self, tokens):
        cells = tokens.cells()
        rows = torch.cat([cells[:, ::2], cells[:, ::2, :1] * 0 - 9], 2)
        mask = tokens.mask.unflatten(1, tokens.grid)[:, ::2, :1].expand(rows.shape[:3])
        return AudioTokens(rows.flatten(1, 2), mask.flatten(1), (rows.shape[1], rows.shape[2]))


def test_newlines_stay_with_their_rows():
    tokens = merged([520], 0.4, cells=3, connector=Newline())
    rows = tokens.cells()[0, ..., 0]
    assert tokens.grid == (26, 4)
    assert rows[:, 0].tolist() == list(range(0, 52, 2))
    assert (rows[:, 3] == -9).all()


class Pooled(nn.Module):
    """Runs of tokens become one, without a grid, as the MLP connector would."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, tokens):
        return AudioTokens(tokens.features[:, :: self.pool], tokens.mask[:, :: self.pool])


@pytest.mark.parametrize(("cells", "pool", "step"), [(None, 2, 2), (4, 2, 1), (4, 8, 2)])
def test_pooled_tokens_keep_their_order(cells, pool, step):
    tokens = merged([520], 0.4, cells, Pooled(pool))
    per_row = max(1, (cells or 1) // pool)
    expected = [float(t) for t in range(0, 52, step) for _ in range(per_row)]
    assert tokens.features[0, :, 0].tolist() == expected


def test_a_connector_without_order_in_time_keeps_all_tokens():
    class Summary(nn.Module):
        in_time_order = False

        def forward(self, tokens):
            return AudioTokens(tokens.features[:, :3], tokens.mask[:, :3])

    assert merged([520], 0.4, connector=Summary()).features.shape == (1, 9, 2)


def test_overlaps_that_do_not_fit_are_named_with_some_that_do():
    with pytest.raises(ValueError, match=r"overlap_s 0.3 .*20 time rows.*valid: 0.2, 0.4"):
        merged([520], 0.3)  # three rows: not even
    with pytest.raises(ValueError, match=r"overlap_s 0.25 is not a whole"):
        merged([100], 0.25)  # also where no clip has two windows
    with pytest.raises(ValueError, match=r"overlap_s 0.2 .*10 time rows.*valid: 0.4, 0.8"):
        merged([520], 0.2, connector=Pooled(2))
    with pytest.raises(ValueError, match="7 tokens in time for 20"):
        merged([520], 0.2, connector=Pooled(3))


@pytest.mark.parametrize(
    ("name", "window_s", "rows", "fits"),
    [
        ("ast", 10.24, 101, "0.14, 0.34"),  # patches 0.1 s apart, the last one ends at 10.16 s
        ("sslam", 10.24, 64, "0.32, 0.64"),
        ("sslam", 5.0, 32, "0.2, 0.52"),  # 5.12 s with its padding
        ("clap", 10.0, 32, "0.625, 1.25"),
        ("whisper", 30.0, 1500, "0.04, 0.08"),
    ],
)
def test_which_overlaps_fit_which_encoder(name, window_s, rows, fits):
    with torch.device("meta"):
        encoder = build_encoder(name, features={"window_s": window_s})
    features = encoder.Features(window_s=window_s, overlap_s=0.01)
    overlap = Overlap((features,), encoder.span_s, rows)
    assert (encoder.grid or (1500,))[0] == rows
    with pytest.raises(ValueError, match=rf"{rows} time rows .*valid: {fits}"):
        overlap.of(AudioTokens(torch.zeros(1, rows, 1), torch.ones(1, rows, dtype=torch.bool)))


@pytest.mark.parametrize("key", ["window_s", "overlap_s", "max_s"])
def test_encoders_of_a_group_are_cut_at_the_same_times(key):
    settings = {"window_s": 2.0, "overlap_s": 0.4, "max_s": 8.0}
    features = {"a": Clock(**settings), "b": Clock(**{**settings, key: 1.0})}
    check_groups({"one": ["a"], "two": ["b"]}, features)
    with pytest.raises(ValueError, match=rf"need the same {key}; in 'both'.*'b': 1.0"):
        check_groups({"both": ["a", "b"]}, features)


def with_overlap(config, overlap_s, **more):
    """The tiny model's configuration with overlapping windows."""
    features = {"overlap_s": overlap_s, **more}
    encoders = {
        name: {**entry, "features": {**entry["features"], **features}}
        for name, entry in config["encoders"].items()
    }
    return {**config, "encoders": encoders}


@pytest.mark.parametrize("model_type", ["lal", "plits"])
@torch.no_grad()
def test_a_whole_model_hears_a_long_clip_in_overlapping_windows(tiny_config, model_type):
    from pal_plugin.models.audio_llm import AudioLLM
    from pal_plugin.models.build import build_components

    torch.manual_seed(0)
    plain = AudioLLM(**build_components(tiny_config(model_type))).eval()
    torch.manual_seed(0)
    config = with_overlap(tiny_config(model_type), 0.64)
    model = AudioLLM(**build_components(config)).eval()
    clip = (np.random.default_rng(0).standard_normal(4 * 16000) * 0.1, 16000)
    encoded = model.encode_audio({"audio": [clip]})
    windows = 1 + math.ceil((4 - 1.28) / 0.64)
    # Of the last window, 0.8 s of 1.28 s are the clip's: 3 of 4 rows, 5 of 8 tokens.
    assert encoded["general"].grid == (4 + (windows - 1) * 2 - 1, 5)
    assert encoded["speech"].features.shape[1] == 8 + (windows - 1) * 4 - 3
    # The first window's kept tokens are those that it has alone.
    alone = plain.encode_audio({"audio": [(clip[0][: round(1.28 * 16000)], 16000)]})
    kept = alone["speech"].features[:, :6]
    torch.testing.assert_close(encoded["speech"].features[:, :6], kept, atol=1e-4, rtol=1e-4)
    assert model.fingerprint() != plain.fingerprint()
    assert len(model.generate({"audio": [clip], "text_input": ["What?"]}, max_new_tokens=2)) == 1

    config["connectors"]["general"]["args"]["grid"] = [1, 4]
    with pytest.raises(ValueError, match="overlap_s 0.64 is not"):
        AudioLLM(**build_components(config)).encode_audio({"audio": [clip]})
    config["encoders"]["clap"]["features"]["overlap_s"] = 0.0
    with pytest.raises(ValueError, match="need the same overlap_s"):
        AudioLLM(**build_components(config))


def test_a_limit_is_reported_with_the_clips_name(tmp_path, caplog):
    import soundfile

    path = tmp_path / "long one.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal(44100 * 3) * 0.1, 44100)
    features = {"window_s": 1.28, "max_s": 2.0}
    entries = {n: {"type": n, "features": dict(features)} for n in ("sslam", "clap", "whisper")}
    entries["whisper"]["features"]["max_s"] = 2.5
    with caplog.at_level(logging.WARNING):
        clip = AudioFrontend(entries)(path)
    rest = "(max_s of the features)"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is 3.00 s long; truncating it to 2 s for sslam, clap {rest}",
        f"{path} is 3.00 s long; truncating it to 2.5 s for whisper {rest}",
    ]
    assert clip["clap"]["frames"].sum() == 200
    assert clip["whisper"]["frames"].sum() == 250
    caplog.clear()
    del features["max_s"]
    AudioFrontend({"clap": {"type": "clap", "features": features}})(path)
    assert not caplog.records


def test_the_rest_below_ten_milliseconds_opens_no_window_with_an_overlap():
    features = {"window_s": 1.28, "overlap_s": 0.32}
    frontend = AudioFrontend({n: {"type": n, "features": features} for n in ("clap", "sslam")})
    for extra, windows in ((0, 2), (44, 2), (440, 2), (442, 3)):
        clip = np.random.default_rng(0).normal(size=round(2.24 * 44100) + extra)
        counts = {n: len(part["frames"]) for n, part in frontend((clip, 44100)).items()}
        assert counts == {"clap": windows, "sslam": windows}, extra
