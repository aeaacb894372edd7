"""`pal data verify`: nothing in good shards, and whatever is wrong by name."""

import re

import pytest

from pal_plugin.commands.main import main

from ..conftest import clip_bytes, rewrite


def test_verify_finds_nothing_in_good_shards(shards, capsys):
    assert main(["data", "verify", str(shards)]) == 0
    assert "7 clips in 2 shards: no faults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: {**m, "c1.wav": m["c1.wav"][:-100]}, "c1: .* truncated"),
        (lambda m: {**m, "c1.wav": clip_bytes()}, "c1: audio SHA-256 differs from json"),
        (lambda m: {**m, "c1.wav": clip_bytes()}, "c1: audio SHA-256 differs from the index"),
        (
            lambda m: {**m, "c1.wav": clip_bytes(seconds=0.5)},
            "c1: expected .* s .json., decoded 0.500 s",
        ),
        (lambda m: {n: d for n, d in m.items() if n != "c1.json"}, "c1: expected audio .*got wav"),
        (lambda m: {n: d for n, d in m.items() if n != "c1.wav"}, "c1: expected audio .*got json"),
        (lambda m: {**m, "c1.json": b"{"}, "c1: cannot parse json"),
        (lambda m: {**m, "c1.json": b'{"items": []}'}, "c1: json has no items"),
        (lambda m: {**m, "c1.json": b'{"items": [{"task": "qa"}]}'}, "c1: item 0 has no quest"),
        (lambda m: {n: d for n, d in m.items() if "c1" not in n}, "expected 4 clips, read 3"),
        (lambda m: {**m, "new.wav": m["c1.wav"], "new.json": m["c1.json"]}, "new: not in the ind"),
    ],
)
def test_verify_names_what_is_wrong(shards, capsys, change, fault):
    rewrite(shards, change)
    assert main(["data", "verify", str(shards)]) == 1
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if re.search(fault, line)], out


def test_verify_sees_a_shard_that_is_cut_gone_or_changed(shards, capsys):
    first, second = sorted(shards.glob("*.tar"))
    data = first.read_bytes()
    first.write_bytes(data[: len(data) // 2])
    second.unlink()
    assert main(["data", "verify", str(shards)]) == 1
    out = capsys.readouterr().out
    assert f"{first.name}: SHA-256 differs" in out
    assert f"{first.name}: expected " in out
    assert f"{second.name}, the shard: no such file" in out
