"""What a run file may name: ours by text, a user's by class, a host's on demand."""

import sys

import pytest

from pal_plugin.config.registry import DATASETS, MODELS, Registry, defaults_of
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def colours():
    return Registry("colour", {"ordered": "collections:OrderedDict"})


def test_a_module_is_imported_when_its_class_is_wanted():
    known = Registry("thing", {"there": "json:dumps", "gone": "no_such_module:Thing"})
    assert "gone" in known
    assert known.get("there") is sys.modules["json"].dumps
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        known.get("gone")


def test_an_unknown_name_is_told_with_its_neighbours(colours):
    assert "orderd" not in colours
    with pytest.raises(ConfigError, match=r"no colour named 'orderd' .* Did you mean 'ordered'"):
        colours.get("orderd")


def test_a_class_can_be_added(colours):
    colours.add("mine", dict)
    assert colours.get("mine") is dict
    assert colours.names() == ["ordered", "mine"]


def test_a_host_is_asked_for_what_is_not_known_and_imported_only_then(
    colours, monkeypatch, tmp_path
):
    (tmp_path / "a_host.py").write_text(
        "from pal_plugin.config.registry import Registry\n"
        "Registry.of_test.add_host({'red': int}.get, lambda: ['red'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Registry, "of_test", colours, raising=False)
    monkeypatch.setattr(Registry, "host", "a_host")
    assert "ordered" in colours
    assert "a_host" not in sys.modules
    assert colours.get("red") is int
    assert "green" not in colours
    assert colours.names() == ["ordered", "red"]
    monkeypatch.delitem(sys.modules, "a_host")


def test_a_host_that_is_not_installed_is_left_out(colours, monkeypatch):
    monkeypatch.setattr(Registry, "host", "pal_plugin.hosts.no_such_framework")
    assert "red" not in colours


@pytest.mark.parametrize("registry", [MODELS, DATASETS])
def test_defaults_of_all_that_is_ours_are_there(registry):
    for name in registry.own():
        places = defaults_of(registry, name)
        assert places
        assert all(path.is_file() for path in places.values()), name


def test_a_class_of_ones_own_names_its_defaults(monkeypatch, tmp_path):
    class Mine:
        DATASET_CONFIG_DICT = {"default": str(tmp_path / "mine.yaml")}  # noqa: RUF012

    monkeypatch.setattr(DATASETS, "entries", {**DATASETS.own(), "mine": Mine})
    assert defaults_of(DATASETS, "mine") == {"default": tmp_path / "mine.yaml"}


def test_a_class_of_ones_own_by_text_names_its_defaults_too(monkeypatch, tmp_path):
    (tmp_path / "my_birds.py").write_text(
        f"class Birds:\n    DATASET_CONFIG_DICT = {{'default': {str(tmp_path / 'birds.yaml')!r}}}\n"
        "class Nameless:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries = {"birds": "my_birds:Birds", "nameless": "my_birds:Nameless"}
    monkeypatch.setattr(DATASETS, "entries", {**DATASETS.own(), **entries})
    assert defaults_of(DATASETS, "birds") == {"default": tmp_path / "birds.yaml"}
    with pytest.raises(ConfigError, match="Nameless.* add the attribute DATASET_CONFIG_DICT"):
        defaults_of(DATASETS, "nameless")
    monkeypatch.delitem(sys.modules, "my_birds")


def test_only_a_text_is_a_name(colours):
    assert ["ordered"] not in colours
    assert None not in colours
