"""Versions of what computes scores, and how to get what is not there."""

import importlib.metadata

import pytest

from pal_plugin.evaluation.metrics.missing import MissingScoreError, version_of


def test_an_installed_package_has_its_version():
    assert version_of("torch") == f"torch {importlib.metadata.version('torch')}"


@pytest.mark.parametrize(
    ("package", "wanted"),
    [
        ("no-such-package", "no-such-package"),
        ("scikit-learn", r"'pal-plugin\[eval\]'"),
        ("aac-metrics", r"'pal-plugin\[captions\]'"),
    ],
)
def test_another_is_named_with_what_to_ask_pip_for(package, wanted, monkeypatch):
    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    told = f"{package} is not installed: pip install {wanted}"
    with pytest.raises(MissingScoreError, match=told):
        version_of(package)
