"""`pal` and `pal data` as a user calls them."""

import subprocess
import sys
from pathlib import Path

import pytest

from pal_plugin.commands import main as command
from pal_plugin.commands.main import COMMANDS, main

from .conftest import rewrite


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
    assert "pal data convert" in done.stdout


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
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
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
