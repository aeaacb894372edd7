"""The skeleton of a model: its parameters without their values."""

import pytest

from pal_plugin.models.stages import component_of
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.utils.errors import ConfigError

from .conftest import CASES


@pytest.mark.parametrize(("kind", "stage"), CASES)
def test_parameters_are_those_of_the_model(pair, kind, stage):
    model, skeleton = pair(kind, stage)
    expected = {}
    for name, parameter in model.named_parameters():
        trained, frozen = expected.get(component_of(name), (0, 0))
        size = parameter.numel()
        expected[component_of(name)] = (
            (trained + size, frozen) if parameter.requires_grad else (trained, frozen + size)
        )
    assert skeleton.parameters() == expected
    assert {p.device.type for p in skeleton.model.parameters()} == {"meta"}


def test_sizes_come_from_the_llms_folder_and_checkpoints_are_not_asked_for(tiny_config, tiny_llm):
    cfg = tiny_config("lal")
    cfg["connectors"]["speech"]["args"]["checkpoint"] = "gone.safetensors"
    skeleton = build_skeleton(cfg)
    assert skeleton.sources["llm"] == f"config.json of {tiny_llm}"
    assert skeleton.model.training


def test_what_has_no_skeleton(tiny_config):
    cfg = tiny_config("lal")
    with pytest.raises(ConfigError, match=r"model\.llm\.quantize=null"):
        build_skeleton({**cfg, "llm": {**cfg["llm"], "quantize": "4bit"}})
    del cfg["routing"]["speech"]
    with pytest.raises(ConfigError, match="speech"):
        build_skeleton(cfg)
