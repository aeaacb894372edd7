"""What each way in imports: nothing heavy before a mistake is told, and no LAVIS at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from pal_plugin.commands.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "transformers",
    "lavis",
    "webdataset",
    "soundfile",
    "matplotlib",
    "numpy",
    "pandas",
}
PROGRAM = """
import sys
from pal_plugin.commands.main import main
try:
    code = main({argv}, host="pal_plugin.hosts.lavis")
except SystemExit as end:
    code = end.code
print("IMPORTED", *sorted({{name.split(".")[0] for name in sys.modules}}))
sys.exit(code)
"""


def started(argv, folder):
    """Exit code, error text, and the top-level modules that a command imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(argv=argv)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stderr, set(done.stdout.rpartition("IMPORTED")[2].split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command, tmp_path):
    code, told, imported = started([command, "--help"], tmp_path)
    assert code == 0, told
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train"], "no recipe given"),
        (["train", "lal_stgae1"], "Did you mean 'lal_stage1'"),
        (["train", "gone.yaml"], "no configuration file gone.yaml"),
        (["data", "encode"], "no recipe given"),
        (["data", "encode", "lal_stage1", "--batch-size", "0"], "--batch-size: got '0'"),
        (["train", "lal_stage1", "--options", "run.sede=1"], "Did you mean 'seed'"),
        (["train", "lal_stage1", "--options", "run.shard_streams=0"], "run.shard_streams is 0"),
        (["train", "lal_stage1", "--options", "datasets.pal_soundwold={}"], "'pal_soundworld'"),
        (["evaluate", "lal_stage1", "--options", "model.model_type=lall"], "Did you mean 'lal'"),
        (["plan", "lal_stage1", "--gpu", "h1000"], "--gpu is 'h1000'"),
        (["run", "gone"], "gone has no intact checkpoint"),
        (["weights", "get", "smal"], "unknown weights 'smal'. Did you mean 'small'?"),
    ],
)
def test_mistakes_are_told_before_anything_heavy_is_imported(argv, says, tmp_path):
    code, told, imported = started(argv, tmp_path)
    assert code == 2
    assert says in told
    # An unknown name of a dataset, a task or a schedule may be LAVIS's, which is asked then.
    assert "pal_soundworld" in says or not imported & HEAVY


def test_where_a_run_stands_is_told_without_anything_heavy(tmp_path):
    run = ROOT / "tests" / "training" / "run_before_the_move" / "run"
    code, told, imported = started(["run", str(run), "--json"], tmp_path)
    assert code == 0, told
    assert not imported & HEAVY


def test_the_package_and_the_heart_import_without_lavis(tmp_path):
    program = "import sys, pal_plugin\nassert 'torch' not in sys.modules\n"
    program += "from pal_plugin.integration import attach\nassert 'lavis' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.slow  # LAVIS is imported anew for each
@pytest.mark.parametrize("order", ["import pal_plugin, lavis", "import lavis.models"])
def test_lavis_knows_us_wherever_it_is_imported(order):
    program = f"import pal_plugin\n{order}\n"
    program += "from lavis.common.registry import registry\n"
    program += "assert registry.get_runner_class('runner_pal').__name__ == 'RunnerPal'\n"
    program += "assert registry.get_model_class('pal') and registry.get_builder_class('pal_esc50')"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
