"""`pal data show`: texts and pictures of any clip."""

import pytest
import torch

from pal_plugin.commands.main import main
from pal_plugin.corpora.shards.show import log_mel

from ..conftest import clip_bytes, rewrite


def test_show_prints_and_draws_also_what_is_broken(shards, tmp_path, capsys):
    rewrite(shards, lambda m: {**m, "c1.wav": b"broken"})
    page = tmp_path / "page.png"
    assert main(["data", "show", str(shards), "-n", "7", "--out", str(page)]) == 0
    out = capsys.readouterr().out
    assert out.count("[classification]") == 7
    assert "c3   0.30 s, 16000 Hz, 1 ch" in out
    assert page.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit):
        main(["data", "show", str(shards), "-n", "0"])


@pytest.mark.parametrize("seconds", [0.0001, 0.01, 512 / 16000, 513 / 16000])
def test_show_draws_the_shortest_clips(write_own, tmp_path, capsys, seconds):
    folder, annotations = write_own({"a.wav": clip_bytes(seconds=seconds)})
    arguments = ["--audio", str(folder), "--annotations", str(annotations), "--min-seconds", "0"]
    out, page = str(tmp_path / "out"), tmp_path / "page.png"
    assert main(["data", "convert", "own", *arguments, "--workers", "1", "--out", out]) == 0
    assert main(["data", "verify", out]) == 0
    assert main(["data", "show", out, "--out", str(page)]) == 0
    assert page.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("rate_hz", [8000, 44100, 192000])
@pytest.mark.parametrize("samples", [1, 256, 511, 512, 513, 1024, 2048, 4096])
def test_a_picture_is_made_of_any_length_at_any_rate(samples, rate_hz):
    picture = log_mel(torch.zeros(samples), rate_hz)
    assert picture.shape[0] == 64
    assert picture.isfinite().all()
