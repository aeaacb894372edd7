"""Each private attribute is still there and means what it did, in the installed versions."""

import copy

import torch
from accelerate import cpu_offload
from families import build

from pal_plugin.llm import internals


def test_the_attention_implementation_is_read_and_named():
    llm = build("llama", "eager")
    assert internals.attention_implementation(llm.config) == "eager"
    llm.set_attn_implementation("sdpa")
    assert internals.attention_implementation(llm.get_decoder().config) == "sdpa"
    config = copy.copy(llm.config)
    internals.name_implementation(config, "eager")
    assert internals.attention_implementation(config) == "eager"
    assert internals.attention_implementation(llm.config) == "sdpa"


def test_hooks_are_seen_while_they_are_there():
    linear = torch.nn.Linear(2, 2)
    hook = linear.register_forward_pre_hook(lambda *_: None)
    assert internals.has_pre_hooks(linear)
    hook.remove()
    assert not internals.has_pre_hooks(linear)


def test_offloaded_weights_are_told_from_those_of_a_plan():
    with torch.device("meta"):
        planned = torch.nn.Linear(2, 2)
    offloaded = cpu_offload(torch.nn.Linear(2, 2), torch.device("cpu"))
    assert (internals.is_offloaded(planned), internals.is_offloaded(offloaded)) == (False, True)
    assert planned.weight.is_meta
    assert offloaded.weight.is_meta


def test_the_kind_of_gradient_checkpointing_is_found():
    llm = build("llama", "eager")
    assert not internals.checkpoints_reentrantly(llm)
    for reentrant in (True, False):
        llm.gradient_checkpointing_enable({"use_reentrant": reentrant})
        assert internals.checkpoints_reentrantly(llm) is reentrant
    llm.gradient_checkpointing_disable()
    assert not internals.checkpoints_reentrantly(llm)
