"""The toy model and dataset of `toys` as fixtures."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toys import register, write_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A folder with train-{0,1}.tar (12 clips) and val-{0,1}.tar (8 clips)."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder)
    return folder


@pytest.fixture
def toy(tmp_path, monkeypatch, shards):
    """Registers the toy model and dataset, and makes `tmp_path` the working directory.

    `toy.config(options...)` is a Config of the recipe `toy.recipe`.
    """
    from lavis.common.registry import registry

    from pal_plugin.config import Config

    for name in ("model_name_mapping", "builder_name_mapping"):
        monkeypatch.setitem(registry.mapping, name, dict(registry.mapping[name]))
    monkeypatch.chdir(tmp_path)
    recipe = register(tmp_path, shards)

    def config(*options):
        return Config(SimpleNamespace(cfg_path=recipe, options=list(options)))

    return SimpleNamespace(recipe=recipe, config=config, shards=shards, folder=tmp_path)
