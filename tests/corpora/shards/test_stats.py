"""`pal data stats`: counts, pictures, and what cannot be read."""

import re
import sys

import pytest

from pal_plugin.commands.main import main

from ..conftest import rewrite


def test_stats_counts_and_draws(shards, tmp_path, capsys):
    assert main(["data", "stats", str(shards), "--out", str(tmp_path / "p" / "s.png")]) == 0
    out = capsys.readouterr().out
    assert "clips        7" in out
    assert "rates in Hz  16000 7" in out
    assert "kind 0 3, kind 1 2, kind 2 2" in out
    assert (tmp_path / "p" / "s.png").read_bytes()[:4] == b"\x89PNG"


def test_stats_and_show_name_a_shard_that_is_cut_or_gone(shards, capsys):
    first, second = sorted(shards.glob("*.tar"))
    data = first.read_bytes()
    first.write_bytes(data[: len(data) // 2])
    second.unlink()
    assert main(["data", "stats", str(shards)]) == 1
    out = capsys.readouterr().out
    assert "unexpected end of data" in out
    assert f"the shard in {second}: no such file" in out
    assert main(["data", "show", str(shards), "-n", "9"]) == 0
    out = capsys.readouterr().out
    assert "unexpected end of data" in out
    assert "the shard: no such file" in out


def test_stats_and_show_name_clips_without_their_other_half(shards, capsys):
    rewrite(shards, lambda m: {n: d for n, d in m.items() if n not in ("c1.wav", "c2.json")})
    assert main(["data", "stats", str(shards)]) == 1
    out = capsys.readouterr().out
    assert "unreadable   2: c1 in" in out
    assert main(["data", "show", str(shards), "-n", "9"]) == 0
    out = capsys.readouterr().out
    assert re.search("c1: expected audio .*, got json", out)
    assert re.search("c2: expected audio .*, got wav", out)


def test_pictures_without_matplotlib_say_what_to_install(shards, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["data", "stats", str(shards), "--out", str(tmp_path / "s.png")]) == 2
    assert "pip install 'matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["folder", "a.xyz"])
def test_a_picture_has_an_ending_that_can_be_drawn(shards, name, capsys):
    with pytest.raises(SystemExit):
        main(["data", "stats", str(shards), "--out", name])
    assert "must end in .png" in capsys.readouterr().err
