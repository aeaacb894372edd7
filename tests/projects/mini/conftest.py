"""Where the recipes are, and their scripts as modules."""

import importlib.util
import sys
from pathlib import Path

import pytest

MINI = Path(__file__).parents[3] / "projects" / "pal" / "mini"


@pytest.fixture
def recipes():
    return MINI


@pytest.fixture
def script(monkeypatch):
    """Import a script of projects/pal/mini by name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"pal_mini_{name}", MINI / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load
