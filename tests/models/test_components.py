"""The parts of a model put together: what is frozen stays so, what is trained."""

import pytest
import torch

from pal_plugin.models.components import ModelComponents


def test_what_is_frozen_stays_in_eval_mode(tiny_model):
    model = tiny_model("pal").train()
    assert model.llm.training
    assert model.connectors.training
    assert not any(module.training for module in model.encoders.modules())
    model = tiny_model("pal", encoders="full", connectors="frozen", llm="lora").train()
    assert model.encoders.training
    assert not any(module.training for module in model.connectors.modules())


def test_groups_hold_every_trained_parameter_once_and_vectors_do_not_decay(tiny_model):
    model = tiny_model("flamingo", llm="lora")
    groups = model.param_groups(0.1)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {"connectors", "lora"} <= {group["name"] for group in groups}
    for group in groups:
        dims = {p.dim() > 1 for p in group["params"]}
        assert dims == {group["weight_decay"] == 0.1}


def test_what_came_from_a_checkpoint_is_noted_until_it_is_gone(tiny_model):
    model = tiny_model("lal")
    model.note_loaded({"connectors.speech", "llm.lora"})
    model.note_loaded({"connectors.general"}, gone={"llm.lora"})
    assert model.loaded_components == {"connectors.speech", "connectors.general"}
    assert ModelComponents.loaded_components == frozenset()  # of this model alone


def test_activations_made_anew_give_the_same_gradients(tiny_model, two_clips):
    gradients = []
    for checkpointed in (False, True):
        model = tiny_model("lal", llm="full").train()
        if checkpointed:
            model.checkpoint_activations()
        model(two_clips)["loss"].backward()
        gradients.append(model.decoder.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(*gradients)


def test_encoders_of_one_connector_hear_the_same_windows(tiny_model):
    built = tiny_model("lal")
    built.frontend.features["clap"].window_s = 2.56
    with pytest.raises(ValueError, match="one group need the same window_s; in 'general'"):
        ModelComponents(
            *(built.encoders, built.connectors, built.groups, built.routing),
            *(built.llm, built.text, built.frontend),
        )
