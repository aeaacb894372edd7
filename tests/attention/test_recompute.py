"""The input of a projection is made again for its gradient, which stays the same to the bit."""

import peft
import pytest
import torch
from torch import nn

from pal_plugin.attention.recompute import computes_in, keeping_no_input, saves_its_input


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.Linear(6, 4), nn.Linear(6, 4)


def gradients(layers, audio, gain, project):
    key, value = layers
    audio, gain = audio.clone().requires_grad_(), gain.clone().requires_grad_()
    made = []

    def make_input():
        made.append(1)
        return audio * gain

    k, v = project(make_input, lambda x: (key(x), value(x)))
    (k.square().sum() + v.sin().sum()).backward()
    found = [
        audio.grad,
        gain.grad,
        *(p.grad.clone() for layer in layers for p in layer.parameters()),
    ]
    for layer in layers:
        layer.zero_grad()
    return found, len(made)


def test_gradients_are_the_same_and_the_input_is_made_once_more(layers):
    audio, gain = torch.randn(2, 3, 6), torch.randn(6)
    plain, once = gradients(layers, audio, gain, lambda make, project: project(make()))
    found, twice = gradients(layers, audio, gain, keeping_no_input)
    assert (once, twice) == (1, 2)  # both projections share what is made again
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one, other)


def test_no_copy_of_the_input_is_held(layers):
    (key, value), audio = layers, torch.randn(2, 3, 6)
    held = []

    def make_input():
        held.append(torch.utils.weak.WeakTensorKeyDictionary({(made := audio * 2): 1}))
        return made

    k, v = keeping_no_input(make_input, lambda x: (key(x), value(x)))
    assert k.requires_grad
    assert v.requires_grad
    assert len(held[0]) == 0  # the tensor is gone while the graph is there


def test_which_projections_save_their_input_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4))
    assert saves_its_input(model[0])
    assert not saves_its_input(nn.Conv1d(4, 4, 1))

    def lora(**settings):
        config = peft.LoraConfig(target_modules=["0"], r=2, **settings)
        return peft.get_peft_model(nn.Sequential(nn.Linear(4, 4)), config).base_model.model[0]

    assert saves_its_input(lora())
    assert not saves_its_input(lora(lora_dropout=0.5))
    assert not saves_its_input(lora(use_dora=True))


def test_products_are_in_autocasts_type():
    x = torch.zeros(1)
    assert computes_in(x) == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert computes_in(x) == torch.bfloat16
        assert computes_in(torch.zeros(1, device="meta")) == torch.float32


def test_an_error_of_the_projection_is_told_as_it_is(layers):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        keeping_no_input(lambda: torch.randn(2, 5), lambda x: (layers[0](x), layers[1](x)))
