"""The one command: its help, and how commands end."""

import importlib
import subprocess
import sys

import pytest

from pal_plugin.commands import main


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train", "; resume with --resume auto"),
        ("evaluate", "; resume with the same command and the run folder's name as --job-id"),
        ("data", "; the same command resumes"),
        ("plan", ""),
    ],
)
def test_ctrl_c_says_what_really_resumes(command, told, monkeypatch, capsys):
    def stopped(args):
        raise KeyboardInterrupt

    module = importlib.import_module(main.COMMANDS[command][0])
    monkeypatch.setattr(module, "run", stopped)
    argv = [command, *({"data": ["list"]}.get(command, ["lal_stage1"]))]
    assert main.main(argv) == 130
    told = f"interrupted; what was written so far is whole{told}\n"
    assert capsys.readouterr().err == told


def test_a_bug_keeps_its_traceback():
    def broken():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        main.guarded(broken)


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
        main.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in main.COMMANDS)
    with pytest.raises(SystemExit) as end:
        main.main(["data", "convert", "--help"])
    assert end.value.code == 0
    assert "--min-seconds" in capsys.readouterr().out
