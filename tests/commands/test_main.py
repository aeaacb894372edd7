"""The one command: its help, and how commands end."""

import errno
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pal_plugin.commands import main
from pal_plugin.config.registry import Registry
from pal_plugin.utils.errors import Interrupted, Preempted

RUN = Path(__file__).parents[1] / "training" / "run_before_the_move" / "run"
WHOLE = "interrupted; all files written so far are complete"


@pytest.fixture
def stopped(monkeypatch):
    """`stopped(argv, error)` -> the exit code of a command in whose work the error is raised."""
    monkeypatch.setattr(Registry, "host", None)
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)

    def stop(argv, error):
        def run(args):
            raise error

        monkeypatch.setattr(importlib.import_module(main.COMMANDS[argv[0]][0]), "run", run)
        return main.main(argv)

    return stop


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (
            ["ask", "dog", "Hear?", "--lables=a,b"],
            "unrecognized arguments: --lables=a,b. Did you mean --labels? Examples: pal ask --help",
        ),
        (["data", "fetch", "esc10", "--uot", "x"], "--uot x. Did you mean --out? Examples: "),
        (["serve", "--qqqq"], "unrecognized arguments: --qqqq. Examples: pal serve --help"),
        (["data"], "required: ACTION. Examples: pal data --help"),
        (["data", "fetch"], "required: NAME. Examples: pal data fetch --help"),
        (["ask", "--seed", "x"], "Examples: pal ask --help"),
    ],
)
def test_wrong_arguments_are_told_with_the_nearest_and_with_where_examples_are(argv, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(argv)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "folder", "told"),
    [
        (
            ["train", "lal_stage1", "--options", "run.name=my run", "--resume", "auto"],
            RUN,
            "; step-00000008 is saved; resume with: pal train lal_stage1 --options "
            "'run.name=my run' --job-id run --resume auto",
        ),
        (
            ["train", "--job-id=other", "lal_stage1", "--resume=auto"],
            RUN,
            "; step-00000008 is saved; resume with: pal train lal_stage1 --job-id run --resume "
            "auto",
        ),
        (
            ["train", "lal_stage1"],
            Path("gone"),
            "; no checkpoint yet (they are written every run.save_every steps and after each "
            "epoch); start over in the same folder with: pal train lal_stage1 --job-id gone "
            "--resume auto",
        ),
        (
            ["train", "lal_stage1"],
            None,
            "; nothing has been trained yet; start again with: pal train lal_stage1",
        ),
        (["evaluate", "lal_stage1"], RUN, "; resume with: pal evaluate lal_stage1 --job-id run"),
        (
            ["evaluate", "lal_stage1"],
            None,
            "; nothing has been evaluated yet; start again with: pal evaluate lal_stage1",
        ),
        (["data", "list"], None, "; the same command resumes"),
        (["weights", "list"], None, "; the same command starts again"),
        (["plan", "lal_stage1"], None, ""),
    ],
)
def test_ctrl_c_says_what_really_resumes(argv, folder, told, stopped, capsys):
    error = KeyboardInterrupt() if folder is None else Interrupted(folder)
    assert stopped(argv, error) == 130
    assert capsys.readouterr().err == f"{WHOLE}{told}\n"


def test_how_it_was_started_is_how_it_resumes(stopped, capsys, monkeypatch):
    for name, value, start in (
        ("SLURM_NTASKS", "8", "srun ... pal train lal_stage1"),
        ("TORCHELASTIC_RUN_ID", "none", "torchrun ... -m pal_plugin train lal_stage1"),
    ):
        monkeypatch.setenv(name, value)
        stopped(["train", "lal_stage1"], Interrupted(RUN))
        assert f"resume with: {start} --job-id run" in capsys.readouterr().err
    monkeypatch.setattr(Registry, "host", "pal_plugin.hosts.lavis")
    stopped(["train", "lal_stage1"], Interrupted(RUN))
    assert "resume with: python train.py lal_stage1 --job-id run" in capsys.readouterr().err


def test_told_to_stop_it_says_how_to_go_on(stopped, capsys):
    assert stopped(["train", "lal_stage1"], Preempted(RUN)) == 75
    assert capsys.readouterr().err == (
        "preempted; state saved; step-00000008 is saved; resume with: pal train lal_stage1 "
        "--job-id run --resume auto\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no pocket weights"),
        IsADirectoryError(errno.EISDIR, "Is a directory", "plan.json"),
        FileExistsError(errno.EEXIST, "File exists", "output"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_the_disk_says_is_one_message(error, capsys):
    def fails():
        raise error

    assert main.guarded(fails) == 2
    assert capsys.readouterr().err == f"error: {error}\n"
    with pytest.raises(OSError, match="a network's"):
        main.guarded(lambda: (_ for _ in ()).throw(OSError("a network's")))


def test_a_reader_that_has_ended_is_no_error():
    """As in `pal doctor | head -1`."""
    call = [sys.executable, "-m", "pal_plugin", "doctor", "--no-test"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (141, b"")


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
