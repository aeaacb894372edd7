"""What is needed and installed, from the package's own metadata."""

import builtins
import importlib.metadata
import re
from pathlib import Path

import pytest

from pal_plugin.utils import installed

REQUIRES = [
    "torch<3,>=2.6",
    "old-one>=2",
    "gone>=1",
    "elsewhere>=1; sys_platform == 'nowhere'",
    "av>=14; extra == 'm4a'",
    "pytest; extra == 'test'",
]
VERSIONS = {"torch": "2.11.0+cpu", "old-one": "1.9", "packaging": "26"}


@pytest.fixture
def metadata(monkeypatch):
    def version(name):
        if name not in VERSIONS:
            raise importlib.metadata.PackageNotFoundError(name)
        return VERSIONS[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)


def test_the_core_is_what_no_extra_asks_for(metadata):
    needs = {need.name: need for need in installed.core()}
    assert list(needs) == ["torch", "old-one", "gone"]
    assert [need.fits for need in needs.values()] == [True, False, False]
    assert [need.version for need in needs.values()] == ["2.11.0+cpu", "1.9", None]
    assert needs["old-one"].wanted == ">=2"
    assert needs["gone"].remedy == "pip install 'gone>=1'"


def test_a_feature_tells_what_it_is_for_and_how_to_get_it(metadata, monkeypatch):
    monkeypatch.setattr(installed.shutil, "which", {"java": "/usr/bin/java"}.get)
    needs = {need.name: need for need in installed.optional()}
    assert not needs["av"].fits
    assert needs["av"].purpose.startswith("M4A")
    assert needs["av"].remedy == "pip install 'pal-plugin[m4a]'"
    assert "pytest" not in needs
    assert (needs["java"].version, needs["java"].fits) == ("/usr/bin/java", True)
    assert "METEOR" in needs["java"].purpose
    assert not needs["ffmpeg"].fits


def test_where_the_package_is_not_installed_nothing_is_claimed(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert installed.core() == []


def test_without_packaging_that_is_what_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("packaging"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (need,) = installed.core()
    assert (need.name, need.fits) == ("packaging", False)


def test_the_extras_are_those_of_setup_py():
    setup = (Path(__file__).parents[2] / "setup.py").read_text()
    extras = re.search(r"extras_require=\{(.*?)\n    \},", setup, re.DOTALL)[1]
    names = set(re.findall(r'^        "(\w+)":', extras, re.MULTILINE))
    assert set(installed.EXTRAS) == names - {"test", "docs"}  # those are for developers
