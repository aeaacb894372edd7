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


def test_every_command_is_told_of_and_has_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", "--help"])
    assert end.value.code == 0
    assert "--min-seconds" in capsys.readouterr().out


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
