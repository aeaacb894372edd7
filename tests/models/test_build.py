"""The `model:` section: what it must hold, and where its weights are."""

import pytest

from pal_plugin.models import build


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("llm", None, r"model needs mappings under llm; got \["),
        ("llm", {}, r"model\.llm needs path"),
        ("llm", {"path": "x", "dtyp": "float16"}, r"model\.llm: unknown 'dtyp'.*'dtype'"),
        ("stage", {"lora_rnk": 3}, r"model\.stage: unknown 'lora_rnk'.*'lora_rank'"),
        ("routing", {"general": {"integration": "lal", "layer": [1]}}, r"unknown 'layer'"),
        ("routing", {"general": {}}, r"model\.routing\.general needs integration"),
        ("connectors", None, r"model needs mappings under connectors"),
    ],
)
def test_what_is_missing_or_unknown_is_named(tiny_config, section, change, message):
    with pytest.raises(ValueError, match=message):
        build.build_components({**tiny_config("lal"), section: change})


def test_a_group_may_have_several_routes(tiny_config):
    cfg = tiny_config("lal")
    cfg["routing"]["general"] = [{"integration": "plits", "pool": 10}, {"integration": "lal"}]
    assert [w.integration for w in build.build_components(cfg)["routing"]["general"]] == [
        "plits",
        "lal",
    ]
    cfg["routing"]["general"][1]["layer"] = [1]
    with pytest.raises(ValueError, match=r"model.routing.general\[1\].*'layer'"):
        build.build_components(cfg)
    cfg["routing"]["general"] = []
    with pytest.raises(
        ValueError, match=r"general is \[\]; expected a section of keys.*or a list of 1 or more"
    ):
        build.build_components(cfg)


def test_a_section_without_a_stage_has_the_first_one(tiny_config):
    section = tiny_config("lal")
    del section["stage"]
    assert build.build_components(section)["stage"].connectors == "full"


def test_a_connectors_checkpoint_is_resolved_as_an_encoders_is(tiny_config):
    section = tiny_config("lal")
    section["connectors"]["speech"] = {
        "type": "qformer",
        "encoders": ["whisper"],
        "args": {"checkpoint": "pocket://nothing"},
    }
    with pytest.raises(FileNotFoundError, match="has no pocket weights 'pocket://nothing'"):
        build.build_components(section)
