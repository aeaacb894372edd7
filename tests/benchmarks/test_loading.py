"""The loading benchmark: both sides make the same features, and the table says how it was made."""

import json

import pytest
import torch

from benchmarks import loading
from pal_plugin.encoders.frontend import AudioFrontend


@pytest.mark.parametrize("kind", loading.FORMATS)
def test_both_sides_hear_the_same(kind):
    torch.manual_seed(0)
    data = loading.file_of(kind, 2.0, 44100)
    ours, stock = AudioFrontend(loading.ENCODERS)(data), loading.plain_loader()(data)
    for name in loading.ENCODERS:
        assert ours[name]["features"].shape == stock[name].shape
        # One sample more by rounding of a length changes no more than the last frames.
        share = ((ours[name]["features"] - stock[name]).abs() < 0.02).float().mean()
        assert share > 0.99


def test_command_line(tmp_path, capsys):
    written = loading.main(
        ["--format", "wav", "--seconds", "0.5", "--repeats", "1", "--quiet", "--out", str(tmp_path)]
    )
    assert sorted(path.suffix for path in written) == [".json", ".md"]
    document = json.loads(next(p for p in written if p.suffix == ".json").read_text())
    (row,) = document["rows"]
    assert row["speed_over_plain"]["median"] > 0
    assert "times as fast as plain" in capsys.readouterr().out
