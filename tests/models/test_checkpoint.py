"""Checkpoints hold what was trained, and whatever does not fit is named."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pal_plugin.models import checkpoint
from pal_plugin.models.checkpoint import CheckpointError


def test_round_trip_of_trained_weights_only(tiny_model, two_clips, tmp_path):
    model = tiny_model("lal", llm="lora")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    path = checkpoint.save(model, tmp_path / "best", recipe="test", epoch=3)
    names = set(load_file(path))
    assert names == {n for n, p in model.named_parameters() if p.requires_grad}
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["recipe"] == "test"
    assert facts["components"] == ["connectors.general", "connectors.speech", "llm.lora"]
    assert not list(tmp_path.glob("*.tmp"))

    fresh = tiny_model("lal", llm="lora")
    before = fresh(two_clips)["loss"]
    assert checkpoint.load(fresh, path) == facts["components"]
    assert torch.equal(fresh(two_clips)["loss"], model(two_clips)["loss"])
    assert not torch.equal(fresh(two_clips)["loss"], before)


def test_stage_two_starts_from_stage_one(tiny_model, tmp_path):
    path = checkpoint.save(tiny_model("lal"), tmp_path / "stage1")
    model = tiny_model("lal", llm="lora")
    assert checkpoint.load(model, path) == ["connectors.general", "connectors.speech"]


def test_frozen_components_of_an_earlier_stage_go_along(tiny_model, tmp_path):
    first = checkpoint.save(tiny_model("lal"), tmp_path / "stage1")
    model = tiny_model("lal", connectors="frozen", llm="lora")
    checkpoint.load(model, first)
    second = checkpoint.save(model, tmp_path / "stage2")
    assert "connectors.general" in checkpoint.load(tiny_model("lal", llm="lora"), second)


def test_adapters_of_other_weights_are_reset(tiny_model, two_clips, tmp_path):
    plain = tiny_model("lal")
    path = checkpoint.save(plain, tmp_path / "stage1")
    model = tiny_model("lal", llm="lora")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    assert not torch.allclose(model(two_clips)["loss"], plain(two_clips)["loss"])
    checkpoint.load(model, path)
    assert torch.allclose(model(two_clips)["loss"], plain(two_clips)["loss"], rtol=1e-5)


def test_another_type_is_refused(tiny_model, tmp_path):
    path = checkpoint.save(tiny_model("plits"), tmp_path / "plits")
    with pytest.raises(CheckpointError, match=r"routing table .*plits.*the model has .*lal"):
        checkpoint.load(tiny_model("lal"), path)


def test_a_fully_tuned_llm_with_tied_embeddings(tiny_config, tmp_path):
    from pal_plugin.models.audio_llm import AudioLLM
    from pal_plugin.models.build import build_components

    cfg = tiny_config("lal", llm="full")
    cfg["llm"] = {"path": "pocket://llm"}
    model = AudioLLM(**build_components(cfg))
    path = checkpoint.save(model, tmp_path / "full")
    assert "llm" in checkpoint.load(AudioLLM(**build_components(cfg)), path)


def test_unfrozen_encoders_take_their_buffers_along(tiny_model, tmp_path):
    path = checkpoint.save(tiny_model("lal", encoders="full"), tmp_path / "all")
    assert any("running_mean" in name for name in load_file(path))
    assert "encoders.clap" in checkpoint.load(tiny_model("lal"), path)


def test_every_mismatch_is_named(tiny_model, tmp_path):
    model = tiny_model("lal")
    path = checkpoint.save(model, tmp_path / "a")
    state = load_file(path)
    state["connectors.general.extra"] = torch.zeros(1)
    state["connectors.general.newline"] = torch.zeros(5)
    del state["connectors.speech.fc1.weight"]
    save_file(state, path)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(model, path)
    for problem in (
        "unexpected: connectors.general.extra",
        "missing: connectors.speech.fc1.weight",
        r"shape: connectors.general.newline is (5,) in the file, (32,) in the model",
    ):
        assert problem in str(error.value)


def test_a_component_that_is_named_and_absent_is_missed(tiny_model, tmp_path):
    model = tiny_model("lal")
    path = checkpoint.save(model, tmp_path / "a")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = {n: t for n, t in load_file(path).items() if not n.startswith("connectors.speech")}
    save_file(state, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"missing: all of connectors\.speech"):
        checkpoint.load(model, path)


def test_lora_without_a_place_for_it(tiny_model, tmp_path):
    path = checkpoint.save(tiny_model("lal", llm="lora"), tmp_path / "lora")
    with pytest.raises(CheckpointError, match="set model.stage.llm=lora"):
        checkpoint.load(tiny_model("lal"), path)


def test_files_that_are_not_checkpoints(tiny_model, tmp_path):
    model = tiny_model("lal")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(model, tmp_path / "nothing.safetensors")
    path = checkpoint.save(model, tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is it complete"):
        checkpoint.load(model, path)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not a .safetensors file"):
        checkpoint.load(model, tmp_path / "a.pth")
    model.requires_grad_(False)
    with pytest.raises(CheckpointError, match="nothing to save"):
        checkpoint.save(model, tmp_path / "b")
