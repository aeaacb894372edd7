"""Flat tensors of a batch's clips, and back; pieces of a batch are an error."""

import pytest
import torch

from pal_plugin.hosts.huggingface import tensors
from pal_plugin.integration.routing import ClipPlaces

IDS, MASK = torch.tensor([[0, 5, 6], [7, 8, 9]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
PLACES = ClipPlaces(torch.tensor([[0, 1], [1, -1]]), torch.tensor([[0, 1], [2, 0]]))
AUDIO = {
    "ears": {
        "features": torch.randn(3, 4),
        "frames": torch.tensor([4, 4, 2]),
        "windows": torch.tensor([1, 2]),
    }
}
DTYPES = {"ears": torch.float32}


def test_there_and_back():
    given = tensors.flat(AUDIO, PLACES)
    assert all(name.startswith("pal_") for name in given)
    back = tensors.samples(IDS, MASK, given, DTYPES)
    assert back["conversations"].ids == [[5, 6], [7, 8, 9]]
    assert torch.equal(back["conversations"].places.index, PLACES.index)
    assert torch.equal(back["audio"]["ears"]["features"], AUDIO["ears"]["features"])
    half = tensors.samples(IDS, MASK, given, {"ears": torch.bfloat16})
    assert half["audio"]["ears"]["features"].dtype == torch.bfloat16


def test_text_alone():
    back = tensors.samples(IDS, MASK, {"pal_clip_index": None}, DTYPES)
    assert back["conversations"].places is None
    assert "audio" not in back


def test_names_that_lack_or_are_too_many_are_told():
    given = tensors.flat(AUDIO, PLACES)
    with pytest.raises(ValueError, match=r"lack \['pal_frames_ears'\]"):
        tensors.samples(IDS, MASK, {k: v for k, v in given.items() if "frames" not in k}, DTYPES)
    with pytest.raises(ValueError, match=r"unknown \['pixel_values'\]"):
        tensors.samples(IDS, MASK, {**given, "pixel_values": IDS}, DTYPES)


def test_a_piece_of_a_batch_is_refused():
    """As accelerate cuts it, when it reads an iterable dataset for several processes."""
    given = tensors.flat(AUDIO, PLACES)
    for rows in (slice(0, 1), slice(1, 2)):
        piece = {name: tensor[rows] for name, tensor in given.items()}
        with pytest.raises(ValueError, match="dispatch_batches"):
            tensors.samples(IDS[rows], MASK[rows], piece, DTYPES)
    with pytest.raises(ValueError, match="dispatch_batches"):
        tensors.samples(IDS, MASK, {**given, "pal_clip_index": PLACES.index[:1]}, DTYPES)


def test_batches_put_together_are_refused():
    """As a pipeline does with batch_size: all rows would hear the clips of the first."""
    given = tensors.flat(AUDIO, PLACES)
    twice = {name: torch.cat([tensor, tensor]) for name, tensor in given.items()}
    with pytest.raises(ValueError, match="batch_size"):
        tensors.samples(torch.cat([IDS, IDS]), torch.cat([MASK, MASK]), twice, DTYPES)
