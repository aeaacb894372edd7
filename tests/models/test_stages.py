"""Stages and the configuration of a model."""

import pytest

from pal_plugin.models.build import build_components
from pal_plugin.models.stages import Stage, parameter_table


def trained(model):
    return {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}


def test_the_three_kinds_of_training(tiny_model):
    assert trained(tiny_model("lal")) == {"connectors"}
    lora = tiny_model("lal", llm="lora", lora_targets="attention")
    names = [n for n, p in lora.named_parameters() if p.requires_grad and n.startswith("llm")]
    assert all("lora_" in n and "self_attn" in n for n in names)
    assert len(names) == 3 * 4 * 2
    both = tiny_model("lal", llm="lora", lora_targets="attention_ffn")
    assert any("mlp" in n and p.requires_grad for n, p in both.named_parameters())
    everything = tiny_model("lal", llm="full", encoders="full")
    assert all(p.requires_grad for p in everything.parameters())


def test_the_table_counts_every_parameter_once(tiny_model):
    model = tiny_model("pal", llm="lora")
    rows = [line.split() for line in parameter_table(model).splitlines()[1:]]
    total = rows[-1]
    assert total[0] == "total"
    columns = [[int(row[i].replace(",", "")) for row in rows] for i in (1, 2)]
    assert [sum(c[:-1]) for c in columns] == [c[-1] for c in columns]
    assert columns[0][-1] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(c[-1] for c in columns) == sum(p.numel() for p in model.parameters())
    assert {"encoders.sslam", "connectors.general", "llm", "llm.lora"} <= {r[0] for r in rows}


def test_unknown_values_are_errors(tiny_config):
    with pytest.raises(ValueError, match="stage.llm is 'loar'; expected one of frozen, lora, full"):
        Stage(llm="loar")
    cfg = tiny_config("lal")
    speech = {**cfg["connectors"]["speech"], "arg": {"pool": 4}}
    with pytest.raises(ValueError, match="model.connectors.speech.*'arg'"):
        build_components({**cfg, "connectors": {**cfg["connectors"], "speech": speech}})
    with pytest.raises(ValueError, match="model.routing.speech needs integration"):
        build_components({**cfg, "routing": {**cfg["routing"], "speech": {"layers": None}}})
    with pytest.raises(ValueError, match=r"each encoder needs a connector"):
        build_components({**cfg, "connectors": {"speech": cfg["connectors"]["speech"]}})
    with pytest.raises(ValueError, match="each group needs one route"):
        build_components({**cfg, "routing": {"general": {"integration": "lal"}}})
    routed = {**cfg["routing"], "general": {"integration": "lal", "layers": [1, 99]}}
    with pytest.raises(ValueError, match=r"names \[99\], but the LLM has the layers 0..2"):
        build_components({**cfg, "routing": routed})


def test_null_takes_an_encoder_and_its_group_out(tiny_config):
    cfg = tiny_config("lal")
    parts = build_components(
        {
            **cfg,
            "encoders": {**cfg["encoders"], "whisper": None},
            "connectors": {**cfg["connectors"], "speech": None},
            "routing": {**cfg["routing"], "speech": None},
        }
    )
    assert set(parts["encoders"]) == {"sslam", "clap"}
    assert set(parts["connectors"]) == set(parts["routing"]) == {"general"}
