"""The recipes of the folder: each is accepted, and types differ in nothing but their routes."""

import pytest

from pal_plugin.config.merging import flat
from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config

TYPES = ("lal", "plits", "pal", "both", "flamingo")
OVERLAYS = ((), ("clips",), ("clips", "minutes"), ("clips", "ship"), ("evidence",))


@pytest.fixture
def config(monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))

    def load(*names):
        return load_config(find_recipes([f"small/{name}" for name in names]), [])

    return load


@pytest.mark.parametrize(
    "overlays",
    [
        pytest.param(o, marks=[] if o in ((), ("clips", "ship")) else pytest.mark.slow)
        for o in OVERLAYS
    ],
    ids="+".join,
)
def test_types_differ_in_their_routes_only(config, overlays):
    first, *others = (flat(config(kind, *overlays).to_dict()) for kind in TYPES)
    for other in others:
        differing = {key for key in {**first, **other} if first.get(key) != other.get(key)}
        names = {"model.model_type", "run.name"}
        assert names & differing
        assert all(key in names or key.startswith("model.routing.") for key in differing)


def test_all_begin_where_the_speech_connector_was_trained_alone(config):
    aligned = config("align")
    assert aligned.model_cfg.stage.aligns in aligned.model_cfg.connectors
    assert aligned.model_cfg.checkpoint is None
    assert not aligned.valid_splits
    for kind in TYPES:
        trained = config(kind)
        assert trained.model_cfg.checkpoint == f"latest:{aligned.run_cfg.name}"
        for part in ("encoders", "connectors"):
            assert trained.model_cfg[part] == aligned.model_cfg[part]
        spoken = trained.config.datasets.pal_spoken.build_info
        assert spoken == aligned.config.datasets.pal_spoken.build_info
