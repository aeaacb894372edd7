"""Shard streams: one order for any number of readers, positions to resume from, little padding."""

import json
import random
from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.training.distributed import World
from pal_plugin.training.loaders import training_loader
from pal_plugin.training.streams import arranged, length_of
from pal_plugin.utils.errors import ConfigError


def clip(number, windows):
    frames = torch.ones(windows, dtype=torch.long)
    return {"audio": {"a": {"frames": frames, "features": frames}}, "number": number}


class Clips(Dataset):
    def __init__(self, windows):
        self.windows, self.made = windows, []

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        self.made.append(index)
        return clip(index, self.windows[index])

    def collater(self, clips):
        return [(c["number"], int(length_of(c))) for c in clips]


class Stream(IterableDataset):
    """One without shards."""

    def __init__(self, windows):
        self.windows = windows

    def __iter__(self):
        return (clip(i, w) for i, w in enumerate(self.windows))

    collater = Clips.collater


def test_clips_of_one_window_are_sorted_by_their_frames():
    short, long = ({"audio": {"a": {"frames": torch.tensor([frames])}}} for frames in (30, 900))
    assert 0 == length_of({"skipped": "broken"}) < length_of(short) < length_of(long)
    clips = [short, long] * 8
    batches = arranged(clips, 4, length_of, random.Random(0))
    assert all(len({length_of(clip) for clip in batch}) == 1 for batch in batches)


def mixed(count):
    """Speech of one window among recordings of two and three (10 s windows, 15 to 30 s clips)."""
    rng = random.Random(0)
    return [rng.choice([1, 2, 3, 3]) for _ in range(count)]


def load(*datasets, workers=0, streams=1, pool=1, batch_size=4, seed=0, weights=None, **more):
    named = {str(i): dataset for i, dataset in enumerate(datasets)}
    return training_loader(
        named,
        weights or dict.fromkeys(named, 1.0),
        batch_size=batch_size,
        num_workers=workers,
        streams=streams,
        pool=pool,
        seed=seed,
        pin_memory=False,
        **more,
    )


def batches(count, *datasets, **how):
    return [micro.batch for micro in islice(load(*datasets, **how), count)]


def padding(found):
    held = sum(len(b) * max(w for _, w in b) for b in found)
    return 1 - sum(w for b in found for _, w in b) / held


def test_every_pass_holds_every_clip_in_another_order():
    numbers = [n for b in batches(9, Clips([1] * 6), batch_size=2) for n, _ in b]
    passes = [numbers[:6], numbers[6:12], numbers[12:]]
    assert [sorted(p) for p in passes] == [list(range(6))] * 3
    assert len({tuple(p) for p in passes}) > 1
    assert batches(9, Clips([1] * 6), seed=1) != batches(9, Clips([1] * 6), seed=2)


def test_a_dataset_smaller_than_a_batch_still_fills_it():
    found = batches(3, Clips([1] * 3))
    assert [len(b) for b in found] == [4, 4, 4]
    assert Counter(n for b in found for n, _ in b) == dict.fromkeys(range(3), 4)
    with pytest.raises(ConfigError, match="empty"):
        load(Clips([]))


@pytest.mark.parametrize("pool", [1, 4])
@pytest.mark.parametrize("kind", [Clips, Stream])
@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 0), (2, 2), (3, 1)])
@pytest.mark.parametrize("streams", [1, 4, 6])
def test_the_order_is_the_same_for_any_readers(kind, streams, processes, workers, pool):
    """Also where streams and readers do not fit, so that readers share streams."""
    alone = list(islice(load(kind(mixed(50)), streams=streams, pool=pool), 24))
    together = [
        list(
            islice(
                load(
                    kind(mixed(50)),
                    streams=streams,
                    pool=pool,
                    workers=workers,
                    world=World(rank, processes),
                ),
                24 // processes,
            )
        )
        for rank in range(processes)
    ]
    dealt = [micro for turn in zip(*together, strict=True) for micro in turn]
    assert [m.number for m in dealt] == list(range(24))
    assert dealt == alone


@pytest.mark.parametrize("stop", [1, 5, 11, 16])
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("kind", [Clips, Stream])
def test_a_position_goes_on_where_it_was_left(kind, streams, stop):
    """Also through JSON, with other processes and workers, and several datasets."""
    data = (kind(mixed(30)), Clips([2] * 7))
    whole = list(islice(load(*data, streams=streams, pool=4), 40))
    positions = {m.position["stream"]: m.position for m in whole[:stop]}
    positions = {int(k): v for k, v in json.loads(json.dumps(positions)).items()}
    rest = [
        list(
            islice(
                load(
                    *data,
                    streams=streams,
                    pool=4,
                    workers=rank,
                    world=World(rank, 2),
                    first=stop,
                    positions=positions,
                ),
                10,
            )
        )
        for rank in range(2)
    ]
    dealt = [micro for turn in zip(*rest, strict=True) for micro in turn]
    assert [(m.number, m.batch) for m in dealt] == [(m.number, m.batch) for m in whole[stop:][:20]]


def test_going_on_makes_only_what_is_still_wanted():
    windows = [1] * 64
    first = Clips(windows)
    last = list(islice(load(first, pool=8), 13))[-1]
    again = Clips(windows)
    next(iter(load(again, pool=8, first=13, positions={0: last.position})))
    # Batch 13 lies in the pool of batches 7 to 14.
    assert len(again.made) == 8 * 4


def test_with_enough_streams_each_process_makes_its_own_clips_only():
    datasets = [Clips([1] * 64) for _ in range(2)]
    for rank, dataset in enumerate(datasets):
        list(islice(load(dataset, streams=2, pool=1, world=World(rank, 2)), 8))
    assert [len(d.made) for d in datasets] == [32, 32]
    assert not set(datasets[0].made) & set(datasets[1].made)


def test_mixing_follows_the_weights_and_starves_nobody():
    data = (Clips([1] * 2), Clips([1] * 900))
    found = batches(400, *data, weights={"0": 1.0, "1": 3.0}, streams=4)
    small = sum(max(n for n, _ in b) < 2 for b in found) / 400
    assert 0.18 < small < 0.32


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_stay_whole_and_padding_shrinks(workers):
    windows, how = mixed(64), {"workers": workers, "streams": max(1, workers)}
    plain = batches(48, Clips(windows), **how)
    by_length = batches(48, Clips(windows), pool=8, **how)
    # Whole passes: 16 batches each, though some of a pass may wait in a pool.
    seen = Counter(n for b in batches(15, Clips(windows), pool=8) for n, _ in b)
    assert max(seen.values()) <= 2
    assert padding(plain) > 0.2
    assert padding(by_length) < padding(plain) / 2


def test_equal_lengths_keep_their_order():
    assert batches(12, Clips([1] * 20), pool=8) == batches(12, Clips([1] * 20))


def test_a_stream_that_ends_begins_again_and_an_empty_one_is_an_error():
    numbers = [n for b in batches(5, Stream([1] * 10)) for n, _ in b]
    assert numbers == [*range(10), *range(10)]
    with pytest.raises(ConfigError, match="empty"):
        next(iter(load(Stream([]))))


def test_the_batch_that_is_not_full_comes_last_and_skipped_clips_travel_along():
    clips = [clip(i, w) for i, w in enumerate([3, 1, 3, 1, 2])] + [SkippedClip("x", "broken")]
    found = arranged(clips, 4, length_of, random.Random(0))
    assert [len(b) for b in found] == [4, 2]
    assert sum(isinstance(c, SkippedClip) for b in found for c in b) == 1
    assert length_of({"audio": torch.zeros(3)}) == 0
