"""`pal` and `pal data` as a user calls them."""

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from pal_plugin.commands import main as command
from pal_plugin.commands.main import ABOUT, COMMANDS, main
from pal_plugin.corpora.shards.show import log_mel
from pal_plugin.corpora.shards.writing import file_sha256

from .conftest import clip_bytes


@pytest.fixture
def shards(write_own, good, tmp_path, capsys):
    folder, annotations = write_own(good)
    code = main(
        [
            "data",
            "convert",
            "own",
            "--audio",
            str(folder),
            "--annotations",
            str(annotations),
            "--out",
            str(tmp_path / "out"),
            "--shard-size",
            "4",
            "--workers",
            "1",
        ]
    )
    assert code == 0
    assert "7 clips" in capsys.readouterr().out
    return tmp_path / "out"


def test_help_imports_neither_torch_nor_lavis():
    program = (
        "import sys; sys.argv[0] = 'pal'\n"
        "from pal_plugin.commands.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'lavis', 'webdataset'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pal data verify" in done.stdout


MISTAKES = {
    "dataset": (["convert", "esc51", "--audio", "gone", "--out", "o"], "Did you mean 'esc50'"),
    "format": (
        ["convert", "fsdd", "--audio", ".", "--out", "o", "--format", "flacc"],
        "Did you mean 'flac'",
    ),
    "audio": (["convert", "fsdd", "--audio", "gone", "--out", "o"], "no audio folder at gone"),
    "annotations": (
        ["convert", "esc50", "--audio", ".", "--annotations", "gone.csv", "--out", "o"],
        "no annotations at gone.csv",
    ),
    "none": (["convert", "fsdd", "--audio", ".", "--out", "o"], "no clip in"),
    "verify": (["verify", "gone"], "no shards at"),
    "stats": (["stats", "gone.tar"], "no shards at"),
    "show": (["show", "gone-*.tar"], "no shards at"),
}


@pytest.mark.parametrize(("argv", "told"), [(["list"], ""), *MISTAKES.values()])
def test_the_list_and_mistakes_are_told_before_anything_heavy_is_imported(tmp_path, argv, told):
    program = (
        "import sys; sys.argv[0] = 'pal'\n"
        "from pal_plugin.commands.main import main\n"
        f"code = main({['data', *argv]!r})\n"
        "heavy = {'torch', 'lavis', 'webdataset', 'transformers', 'soundfile', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == (2 if told else 0), done.stderr
    assert told in done.stderr


def test_every_command_is_told_of_and_has_help(capsys):
    assert set(ABOUT) == set(COMMANDS)
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "--help"])
    assert end.value.code == 0
    assert "--min-seconds" in capsys.readouterr().out


def test_mistakes_are_one_message_and_exit_code_2(tmp_path, capsys):
    assert main(["dtaa"]) == 2
    assert "Did you mean 'data'" in capsys.readouterr().err
    assert main(["data", "convert", "esc50", "--audio", str(tmp_path), "--out", "x"]) == 2
    assert capsys.readouterr().err == "error: esc50 needs annotations: esc50.csv\n"
    assert main(["data", "stats", str(tmp_path / "gone")]) == 2
    assert "no shards at" in capsys.readouterr().err
    assert main([]) == 2
    arguments = ["data", "convert", "own", "--audio", str(tmp_path), "--out", "x", "--where", "a"]
    assert main(arguments) == 2
    assert "expected COLUMN=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "own", "--audoi", "x"])
    assert end.value.code == 2


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    import pal_plugin.commands.data as data

    def bug(args):
        raise KeyError("bug")

    monkeypatch.setattr(data, "run", bug)
    with pytest.raises(KeyError):
        command.main(["data", "list"])


def test_verify_finds_nothing_in_good_shards(shards, capsys):
    assert main(["data", "verify", str(shards)]) == 0
    assert "7 clips in 2 shards: no faults" in capsys.readouterr().out


def rewrite(shards, change):
    """Change the members of the first tar; `change({name: bytes})` returns the new ones."""
    path = next(shards.glob("*-00000.tar"))
    with tarfile.open(path) as tar:
        inside = {m.name: tar.extractfile(m).read() for m in tar}
    with tarfile.open(path, "w") as tar:
        for name, data in change(inside).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    index = json.loads((shards / "index.json").read_text())
    index["shards"][0]["sha256"] = file_sha256(path)  # so that only the clips tell
    (shards / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: {**m, "c1.wav": m["c1.wav"][:-100]}, "c1: .* cut off"),
        (lambda m: {**m, "c1.wav": clip_bytes()}, "c1: the audio's hash differs from its json"),
        (lambda m: {**m, "c1.wav": clip_bytes()}, "c1: the audio's hash differs from the index"),
        (lambda m: {**m, "c1.wav": clip_bytes(seconds=0.5)}, "c1: decodes to 0.500 s, its json"),
        (lambda m: {n: d for n, d in m.items() if n != "c1.json"}, "c1: expected audio .*got wav"),
        (lambda m: {n: d for n, d in m.items() if n != "c1.wav"}, "c1: expected audio .*got json"),
        (lambda m: {**m, "c1.json": b"{"}, "c1: its json cannot be read"),
        (lambda m: {**m, "c1.json": b'{"items": []}'}, "c1: its json holds no items"),
        (lambda m: {**m, "c1.json": b'{"items": [{"task": "qa"}]}'}, "c1: item 0 has no quest"),
        (lambda m: {n: d for n, d in m.items() if "c1" not in n}, "holds 3 of 4 clips"),
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
    assert f"{first.name}: its hash differs" in out
    assert f"{first.name}: holds" in out
    assert f"{second.name}, the shard: no such file" in out


def test_stats_counts_and_draws(shards, tmp_path, capsys):
    assert main(["data", "stats", str(shards), "--out", str(tmp_path / "p" / "s.png")]) == 0
    out = capsys.readouterr().out
    assert "clips        7" in out
    assert "rates in Hz  16000 7" in out
    assert "kind 0 3, kind 1 2, kind 2 2" in out
    assert (tmp_path / "p" / "s.png").read_bytes()[:4] == b"\x89PNG"


def test_show_prints_and_draws_also_what_is_broken(shards, tmp_path, capsys):
    rewrite(shards, lambda m: {**m, "c1.wav": b"broken"})
    page = tmp_path / "page.png"
    assert main(["data", "show", str(shards), "-n", "7", "--out", str(page)]) == 0
    out = capsys.readouterr().out
    assert out.count("[classification]") == 7
    assert "c3   0.30 s, 16000 Hz, 1 ch" in out
    assert page.read_bytes()[:4] == b"\x89PNG"
    assert main(["data", "show", str(shards), "-n", "0"]) == 2


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


def test_names_that_lead_out_of_a_tar_write_nothing(shards, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = ["../../x", "/tmp/pal_hostile", "a/../../y", "\udcff"]
    rewrite(shards, lambda m: {f"{n}{e}": m[f"c1{e}"] for n in hostile for e in (".wav", ".json")})
    before = sorted(tmp_path.parent.rglob("*"))
    assert main(["data", "verify", str(shards)]) == 1
    assert main(["data", "stats", str(shards)]) == 0
    assert main(["data", "show", str(shards), "-n", "9"]) == 0
    assert r"\xff" in capsys.readouterr().out
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert not Path("/tmp/pal_hostile.wav").exists()


def test_pictures_without_matplotlib_say_what_to_install(shards, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["data", "stats", str(shards), "--out", str(tmp_path / "s.png")]) == 2
    assert "pip install 'matplotlib" in capsys.readouterr().err


def test_list_names_every_dataset(capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "audiocaps" in out
    assert "mmau-test-mini.json" in out


def test_conversion_needs_no_lavis(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    out = str(tmp_path / "out")
    command = ["data", "convert", "own", "--workers", "1", "--audio", str(folder), "--out", out]
    program = (
        "import sys; sys.modules['lavis'] = None\n"
        "from pal_plugin.commands.main import main\n"
        f"code = main({[*command, '--annotations', str(annotations)]!r})\n"
        f"sys.exit(code or main({['data', 'verify', out]!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "7 clips in 1 shards: no faults" in done.stdout


def test_a_conversion_without_a_clip_that_can_be_used_is_no_success(tmp_path, capsys):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "own.csv").write_text("audio,label\nzero.wav,dog\n")
    where = ["--audio", str(tmp_path), "--annotations", str(tmp_path / "own.csv")]
    argv = ["data", "convert", "own", *where, "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(argv) == 1
    assert "no clip can be used" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["folder", "a.xyz"])
def test_a_picture_has_an_ending_that_can_be_drawn(shards, name, capsys):
    with pytest.raises(SystemExit):
        main(["data", "stats", str(shards), "--out", name])
    assert "must end in .png" in capsys.readouterr().err
