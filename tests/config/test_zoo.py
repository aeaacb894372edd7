"""The model types of the package, resolved one by one."""

import pytest
from omegaconf import OmegaConf

from pal_plugin.config.zoo import MODEL_TYPES, type_config, type_section


@pytest.mark.parametrize("name", [name for name in MODEL_TYPES if name != "full"])
def test_a_type_is_a_whole_model_section(name):
    section = type_section(name)
    assert (section["arch"], section["model_type"]) == ("pal", name)
    assert set(section["routing"]) == set(section["connectors"])
    assert "${" not in str(section)
    assert {"model", "preprocess"} <= type_config(name).keys()


def test_mistakes_name_the_types_and_the_way_to_change_one(tmp_path):
    with pytest.raises(ValueError, match="unknown model type 'lall'. Did you mean 'lal'"):
        type_section("lall")
    with pytest.raises(ValueError, match="llm: a model type does not accept overrides"):
        type_section("lal", llm="mine")
    mine = tmp_path / "mine.yaml"
    OmegaConf.save({"model": {"arch": "mine"}}, mine)
    assert type_section("small", {"small": mine}) == {"arch": "mine"}


def test_a_type_that_leaves_something_open_says_what():
    with pytest.raises(ValueError, match=r"'full' needs values for model.encoders.sslam"):
        type_section("full")
