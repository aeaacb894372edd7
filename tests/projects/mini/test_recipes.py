"""The recipes of projects/pal/mini: where their data are, and what they resolve to."""

import pytest

from pal_plugin.config.run_config import load_config
from pal_plugin.utils.errors import ConfigError


@pytest.mark.parametrize("kind", ["lal", "plits", "pal"])
def test_without_the_data_the_recipe_says_so(kind, monkeypatch, recipes):
    monkeypatch.delenv("PAL_DATA", raising=False)
    with pytest.raises(ConfigError, match="PAL_DATA is not set"):
        load_config(recipes / f"{kind}.yaml", [])


@pytest.mark.parametrize("kind", ["lal", "plits", "pal"])
def test_recipes_resolve(kind, monkeypatch, recipes, tmp_path):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    config = load_config(recipes / f"{kind}.yaml", ["run.seed=7"])
    assert config.model_cfg.model_type == kind
    assert config.model_cfg.stage.encoders == "frozen"
    for encoder in config.model_cfg.encoders.values():
        assert encoder.checkpoint.startswith("output/mini_encoders/")
    dataset = config.datasets_cfg.pal_mini
    assert dataset.order_seed == 7
    assert dataset.audio_processor.train.encoders == config.model_cfg.encoders
