"""From counts to GiB: what is sharded, and what stays."""

from sizes import bytes_of

from pal_plugin.planning.memory import DDP, FSDP, memory_of
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload

WORK = Workload(2, clip_s=1.28, text=24, answer=8)


def test_one_process_keeps_weights_and_two_states_per_trained_number(skeleton):
    model = skeleton(llm="full").model
    memory = memory_of(model, count_step(model, WORK), DDP, 1)
    assert memory.weights == bytes_of(model)
    assert memory.optimizer == 2 * bytes_of(model, trained=True)
    assert memory.gathered == 0
    assert memory.total == sum(vars(memory).values())


def test_ddp_keeps_gradients_and_fsdp_shares_the_layers(skeleton):
    model = skeleton(llm="full").model
    count, trained = count_step(model, WORK), bytes_of(model, trained=True)
    alone, ddp, fsdp = (memory_of(model, count, s, w) for s, w in ((DDP, 1), (DDP, 4), (FSDP, 4)))
    assert ddp.gradients == trained
    assert alone.total <= ddp.total <= alone.total + trained
    layers = list(model.decoder.layers)
    whole = bytes_of(layers[0])  # all of it is trained, and no buffer is in it
    assert ddp.weights - fsdp.weights == len(layers) * whole * 3 / 4
    assert ddp.optimizer - fsdp.optimizer == 2 * len(layers) * whole * 3 / 4
    assert ddp.gradients - fsdp.gradients == len(layers) * whole * 3 / 4
    assert fsdp.gathered == 2 * whole + whole  # two layers, and the gradients of one
    assert memory_of(model, count, FSDP, 1).total == alone.total


def test_accumulated_gradients_stay_and_a_large_optimizer_step_is_the_peak(skeleton):
    model = skeleton(llm="full").model
    count, trained = count_step(model, WORK), bytes_of(model, trained=True)
    once, several = (memory_of(model, count, DDP, 1, n) for n in (1, 8))
    assert several.gradients == trained
    assert once.total <= several.total <= once.total + trained
    small = Workload(1, clip_s=1.28, text=3, answer=1)
    model = skeleton(encoders="full", llm="full").model
    memory = memory_of(model, count_step(model, small), DDP, 1)
    assert memory.total >= 4 * bytes_of(model, trained=True)
