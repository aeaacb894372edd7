"""`pal doctor`: what it prints, its exit code, and that it starts where much is missing."""

import subprocess
import sys

import pytest

from pal_plugin.commands import doctor
from pal_plugin.commands.main import main
from pal_plugin.models import self_test
from pal_plugin.models.self_test import Heard
from pal_plugin.utils.installed import Need

BELL = Heard("bell", "bell")
GOOD = Need("torch", "2.11", ">=2.6", True, "this package", "pip install torch")


@pytest.fixture
def machine(monkeypatch):
    """`machine(core=[...], heard=[...])`: what doctor finds."""

    def make(core=(GOOD,), features=(), heard=(BELL,)):
        monkeypatch.setattr(doctor, "core", lambda: list(core))
        monkeypatch.setattr(doctor, "optional", lambda: list(features or (GOOD,)))
        monkeypatch.setattr(self_test, "self_test", lambda: list(heard))

    return make


def test_here_all_is_well(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for part in ("torch", "transformers", "cores", "GPU", "java", "weights", "PAL_CACHE", "av "):
        assert part in out
    assert "problems\n  none" in out


def test_what_the_package_needs_and_has_not_is_a_problem(machine, capsys):
    gone = Need("timm", None, ">=1", False, "this package", "pip install 'timm>=1'")
    old = Need("peft", "0.1", ">=0.18", False, "this package", "pip install 'peft>=0.18'")
    machine(core=[GOOD, gone, old])
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "timm is missing (wanted: >=1): pip install 'timm>=1'" in out
    assert "peft is 0.1 (wanted: >=0.18)" in out
    assert "MISSING" in out


def test_what_a_feature_needs_is_none_and_tells_how_to_get_it(machine, capsys):
    machine(features=[Need("java", None, "", False, "METEOR", "install a Java runtime")])
    assert main(["doctor"]) == 0
    assert "METEOR: install a Java runtime" in capsys.readouterr().out


def test_a_wrong_answer_is_a_problem(machine, capsys):
    machine(heard=[BELL, Heard("rain", "drip")])
    assert main(["doctor"]) == 1
    assert "self-test: expected 'rain', the model answered 'drip'" in capsys.readouterr().out
    assert main(["doctor", "--no-test"]) == 0


def test_a_package_that_is_not_installed_is_a_problem(machine, capsys):
    machine(core=[])
    assert main(["doctor"]) == 1
    assert "is not installed, so its requirements are unknown" in capsys.readouterr().out


def test_it_starts_without_anything_but_python():
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'omegaconf', 'numpy', 'soundfile', 'packaging',\n"
        "             'yaml', 'tqdm', 'filelock', 'huggingface_hub', 'av'):\n"
        "    sys.modules[name] = None\n"
        "from pal_plugin.commands.main import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert not done.stderr
    assert "torch cannot be imported" in done.stdout
    assert "the self-test failed to run: ModuleNotFoundError" in done.stdout
    assert "packaging" in done.stdout
