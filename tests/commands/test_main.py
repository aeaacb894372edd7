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


SLIPS = ("nan", "inf", "0", "-1", "1e9", "a-word", "", "null", "[1, 2]", str(10**9))


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize(
    "argv",
    [
        ["plan", "lal_stage1", "--world-size"],
        ["plan", "lal_stage1", "--clip-seconds"],
        ["plan", "lal_stage1", "--text-tokens", "8"],
        ["train", "lal_stage1", "--dry-run", "--world-size"],
        ["results", "gone", "--draws"],
        ["data", "encode", "lal_stage1", "--batch-size"],
        ["data", "show", "gone", "-n"],
        *(
            ["data", "convert", "esc50", "--audio", "gone", "--out", "gone", option]
            for option in ("--rate", "--shard-size", "--workers")
        ),
    ],
    ids=lambda argv: f"{argv[0]} {argv[-1]}",
)
def test_a_number_out_of_its_range_is_told_by_the_name_of_its_option(argv, slip, capsys):
    with pytest.raises(SystemExit) as end:
        main.main([*argv, slip])
    assert end.value.code == 2
    told = capsys.readouterr().err
    option = next(name for name in reversed(argv) if name.startswith("-"))
    assert f"argument {option}: " in told
    assert "expected" in told


@pytest.mark.parametrize("slip", ["nan", "inf", "-1", "1e9", "a-word", "", "null", "[1, 2]"])
@pytest.mark.parametrize(
    "argv",
    [
        ["results", "gone", "--seed"],
        ["data", "show", "gone", "--seed"],
        ["data", "convert", "esc50", "--audio", "gone", "--out", "gone", "--min-seconds"],
    ],
    ids=lambda argv: f"{argv[0]} {argv[-1]}",
)
def test_zero_is_a_seed_and_a_length(argv, slip, capsys):
    with pytest.raises(SystemExit):
        main.main([*argv, slip])
    assert f"argument {argv[-1]}: " in capsys.readouterr().err
    assert main.main([*argv, "0"]) == 2  # since nothing is there
    assert "argument" not in capsys.readouterr().err
