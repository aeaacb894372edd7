"""Shards of one process among one: whole tensors come back as they were."""

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from pal_plugin.utils.sharding import like, whole


@pytest.fixture
def shard():
    """Makes shards of tensors, in a group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield lambda tensor: distribute_tensor(tensor, init_device_mesh("cpu", (1,)), [Shard(0)])
    distributed.destroy_process_group()


def test_shards_are_put_together_and_made_again(shard):
    tensor = torch.arange(6.0).reshape(3, 2)
    place = shard(torch.zeros(3, 2))
    made = like(tensor, place)
    assert isinstance(made, DTensor)
    assert made.placements == place.placements
    assert not isinstance(whole(made), DTensor)
    assert torch.equal(whole(made), tensor)


def test_whole_tensors_stay_what_they_are():
    tensor = torch.arange(6.0)
    assert whole(tensor) is tensor
    assert like(tensor, torch.zeros(6)) is tensor
    assert like(torch.zeros(6, device="meta"), torch.zeros(2, device="meta")).is_meta
