"""`model.lal_gain`: LAL's gains as a part of the model, its stages and its checkpoints."""

import pytest
import torch

from pal_plugin.models import checkpoint
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components


@pytest.fixture
def make(tiny_config):
    def model(kind="lal", gain=0.1, **stage):
        torch.manual_seed(0)
        return AudioLLM(**build_components({**tiny_config(kind, **stage), "lal_gain": gain})).eval()

    return model


def test_groups_by_lal_have_a_gain_in_each_layer(make):
    assert {name: gain.tolist() for name, gain in make().gains.items()} == {
        group: [pytest.approx(0.1)] * 3 for group in ("general", "speech")
    }
    assert list(make("pal").gains) == ["general"]
    assert not make("plits").gains
    assert not make("flamingo").gains
    assert not make(gain=None).gains


def test_a_gain_is_heard_and_of_one_it_is_the_paper(make, two_clips):
    losses = [make(gain=gain)(two_clips)["loss"] for gain in (None, 1, 0.1)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("stage", [{"llm": "frozen"}, {"llm": "lora"}])
def test_gains_are_trained_where_connectors_are(make, two_clips, stage):
    model = make(**stage)
    model(two_clips)["loss"].backward()
    assert all(gain.grad.abs().min() > 0 for gain in model.gains.values())
    groups = {g["name"]: g for g in model.param_groups(0.01) if g["weight_decay"] == 0}
    assert sum(p.numel() for p in groups["gains"]["params"]) == 6
    frozen = make(connectors="frozen", llm="lora")
    assert not any(gain.requires_grad for gain in frozen.gains.values())


def test_checkpoints_hold_them(make, two_clips, tmp_path):
    model = make()
    with torch.no_grad():
        model.gains["general"].mul_(3)
    path = checkpoint.save(model, tmp_path / "new")
    fresh = make(gain=0.7)
    assert "gains.general" in checkpoint.load(fresh, path)
    assert torch.equal(fresh(two_clips)["loss"], model(two_clips)["loss"])


def test_connectors_trained_without_are_heard_without(make, two_clips, tmp_path):
    old = make(gain=None)
    with torch.no_grad():
        for parameter in old.connectors.parameters():
            parameter.add_(0.1)
    path = checkpoint.save(old, tmp_path / "old")
    fresh = make(gain=0.1)
    assert not torch.equal(fresh(two_clips)["loss"], old(two_clips)["loss"])
    checkpoint.load(fresh, path)
    assert torch.equal(fresh(two_clips)["loss"], old(two_clips)["loss"])


def test_a_group_that_a_checkpoint_lacks_keeps_its_gain(make, tmp_path):
    path = tmp_path / "one.safetensors"
    checkpoint.write(make(gain=None), path, {"connectors.general"})
    fresh = make(gain=0.1)
    checkpoint.load(fresh, path)
    assert fresh.gains["general"].tolist() == [1.0] * 3
    assert fresh.gains["speech"].tolist() == [pytest.approx(0.1)] * 3


def test_gains_without_a_place_for_them(make, tmp_path):
    path = checkpoint.save(make(), tmp_path / "new")
    with pytest.raises(checkpoint.CheckpointError, match=r"gains\.speech\n.*set model\.lal_gain"):
        checkpoint.load(make(gain=None), path)


def test_kept_audio_is_that_of_the_gains(make, two_clips):
    model = make()
    kept = model.encode(two_clips["audio"], store="features")
    asked = {"text_input": two_clips["text_input"]}
    scores = model.predict_class(asked, ["bell", "rain"], audio=kept)["scores"]
    heard = model.predict_class({**asked, "audio": two_clips["audio"]}, ["bell", "rain"])["scores"]
    torch.testing.assert_close(scores, heard)
    with torch.no_grad():
        model.gains["speech"].mul_(2)
    with pytest.raises(ValueError, match="the weights have changed since"):
        model.generate(asked, audio=kept)


@pytest.mark.parametrize("wrong", [0, -0.1, float("inf"), "0.1", True])
def test_what_is_no_gain_is_refused(make, wrong):
    with pytest.raises(ValueError, match="lal_gain is .*; expected a number above 0, or null"):
        make(gain=wrong)
