"""How every kind is asked: settings of generation, sampling, closed sets, mistakes."""

import pytest
import torch

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

from .conftest import Told, batch, evaluate, item, tagged


def test_a_label_outside_the_closed_set_is_an_error():
    with pytest.raises(ConfigError, match=r"a#0.*\['horn'\]"):
        evaluate(Told(likes={"a": {}}), tagged(["rain", "horn"]))
    with pytest.raises(ConfigError, match="no candidates"):
        evaluate(Told(), batch(item("classification", "rain")))


def test_generation_settings_reach_the_model_and_null_ones_do_not():
    model = Told({"a": "x"})
    settings = {"num_beams": 3, "temperature": None}
    evaluate(model, batch(item("qa", "x")), generation=settings, max_new_tokens=7)
    assert model.generation == [{"max_new_tokens": 7, "num_beams": 3}] * 2


def test_sampling_repeats_for_the_same_rows_and_leaves_the_generator_alone():
    draws = []
    model = Told({"a": lambda question: draws.append(torch.rand(1).item()) or "x"})
    before = torch.get_rng_state()
    for _ in range(2):
        evaluate(model, batch(item("qa", "x")), generation={"do_sample": True}, masked_audio=False)
    evaluate(
        model, batch(item("qa", "x")), generation={"do_sample": True}, masked_audio=False, seed=1
    )
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_tasks_and_settings_are_named():
    with pytest.raises(ConfigError, match="'caption'"):
        evaluate(Told(), batch(item("captions", "x")))
    with pytest.raises(ConfigError, match="'caption'"):
        InstructTask(evaluation={"captions": {}})
