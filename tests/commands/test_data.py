"""`pal data`: mistakes before anything heavy, messages, exit codes."""

import subprocess
import sys

import pytest

from pal_plugin.commands import data
from pal_plugin.commands.main import main

MISTAKES = {
    "dataset": (["convert", "esc51", "--audio", "gone", "--out", "o"], "Did you mean 'esc50'"),
    "format": (
        ["convert", "fsdd", "--audio", ".", "--out", "o", "--format", "flacc"],
        "Did you mean 'flac'",
    ),
    "audio": (["convert", "fsdd", "--audio", "gone", "--out", "o"], "no audio folder at gone"),
    "annotations": (
        ["convert", "esc50", "--audio", ".", "--annotations", "gone.csv", "--out", "o"],
        "no annotation file at gone.csv",
    ),
    "none": (["convert", "fsdd", "--audio", ".", "--out", "o"], "no clips in"),
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


def test_mistakes_are_one_message_and_exit_code_2(tmp_path, capsys):
    assert main(["dtaa"]) == 2
    assert "Did you mean 'data'" in capsys.readouterr().err
    assert main(["data", "convert", "esc50", "--audio", str(tmp_path), "--out", "x"]) == 2
    assert capsys.readouterr().err == "error: esc50 needs annotation files: esc50.csv\n"
    assert main(["data", "stats", str(tmp_path / "gone")]) == 2
    assert "no shards at" in capsys.readouterr().err
    assert main([]) == 2
    arguments = ["data", "convert", "own", "--audio", str(tmp_path), "--out", "x", "--where", "a"]
    assert main(arguments) == 2
    assert "expected COLUMN=VALUE" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "own", "--audoi", "x"])
    assert end.value.code == 2


def test_list_names_every_dataset(capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "audiocaps" in out
    assert "mmau-test-mini.json" in out


def test_a_conversion_without_a_clip_that_can_be_used_is_no_success(tmp_path, capsys):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "own.csv").write_text("audio,label\nzero.wav,dog\n")
    where = ["--audio", str(tmp_path), "--annotations", str(tmp_path / "own.csv")]
    argv = ["data", "convert", "own", *where, "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(argv) == 1
    assert "no usable clip" in capsys.readouterr().out


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def bug(args):
        raise KeyError("bug")

    monkeypatch.setattr(data, "run", bug)
    with pytest.raises(KeyError):
        main(["data", "list"])
