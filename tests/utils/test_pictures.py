"""Pictures need matplotlib and nothing else does."""

import sys

import pytest

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.pictures import new_figure


def test_a_figure_has_its_size():
    pytest.importorskip("matplotlib")
    assert list(new_figure(7, 4).get_size_inches()) == [7, 4]


def test_without_matplotlib_the_error_says_how(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install 'matplotlib"):
        new_figure(1, 1)
