"""How commands end."""

import importlib

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
