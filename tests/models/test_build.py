"""The `model:` section: what it must hold, and where its weights are."""

import pytest

from pal_plugin.models import build


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("llm", None, r"model needs maps under llm; got \["),
        ("llm", {}, r"model\.llm needs path"),
        ("llm", {"path": "x", "dtyp": "float16"}, r"model\.llm: unknown 'dtyp'.*'dtype'"),
        ("stage", {"lora_rnk": 3}, r"model\.stage: unknown 'lora_rnk'.*'lora_rank'"),
        ("routing", {"general": {"integration": "lal", "layer": [1]}}, r"unknown 'layer'"),
        ("routing", {"general": {}}, r"model\.routing\.general needs integration"),
        ("connectors", None, r"model needs maps under connectors"),
    ],
)
def test_what_is_missing_or_unknown_is_named(tiny_config, section, change, message):
    with pytest.raises(ValueError, match=message):
        build.build_parts({**tiny_config("lal"), section: change})


def test_groups_of_one_integration_have_one_set_of_layers(tiny_config):
    cfg = tiny_config("pal")
    for group, layers in zip(cfg["routing"], ([0], [1]), strict=True):
        cfg["routing"][group] = {"integration": "lal", "layers": layers}
    with pytest.raises(ValueError, match="go by lal to different layers"):
        build.build_parts(cfg)


def test_a_section_without_a_stage_has_the_first_one(tiny_config):
    section = tiny_config("lal")
    del section["stage"]
    assert build.build_parts(section)["stage"].connectors == "full"


def test_a_connectors_checkpoint_is_resolved_as_an_encoders_is(tiny_config):
    section = tiny_config("lal")
    section["connectors"]["speech"] = {
        "type": "qformer",
        "encoders": ["whisper"],
        "args": {"checkpoint": "pocket://nothing"},
    }
    with pytest.raises(FileNotFoundError, match="no pocket weights 'pocket://nothing'"):
        build.build_parts(section)
