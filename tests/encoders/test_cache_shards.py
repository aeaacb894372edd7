"""Shards of encoder states: whole or absent, found by who comes later, made again."""

import pickle

import pytest
import torch

from pal_plugin.encoders import cache_shards
from pal_plugin.encoders.cache_shards import ClipStates, ShardWriter, StateShards, write_shard


def clip(*valid, dtype=torch.float32, seed=0):
    states = torch.randn(sum(valid), 3, generator=torch.Generator().manual_seed(seed))
    return ClipStates(states.to(dtype), torch.tensor(valid), torch.tensor(valid) * 2)


def same(one, other):
    pairs = zip(one.entry().values(), other.entry().values(), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def shards(tmp_path):
    return StateShards(tmp_path / "states", "space")


def writer(shards, limit_bytes=1e9):
    return ShardWriter(shards, shards.folder.parent, limit_bytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_written_is_read(shards, dtype):
    clips = {"a": clip(4, dtype=dtype), "b": clip(5, 5, 1, dtype=dtype), "c": clip(2, dtype=dtype)}
    write_shard(shards.folder, "space", clips)
    for key, one in clips.items():
        assert same(shards.find(key), one)
    assert shards.find("d") is None
    assert len(shards) == 3


def test_a_reader_finds_what_came_later_also_in_another_process(shards):
    assert shards.find("a") is None  # there is no folder yet
    write_shard(shards.folder, "space", {"a": clip(4)})
    assert same(shards.find("a"), clip(4))
    elsewhere = pickle.loads(pickle.dumps(shards))
    write_shard(shards.folder, "space", {"b": clip(3)})
    assert same(elsewhere.find("b"), clip(3))
    assert same(elsewhere.find("a"), clip(4))


def test_many_clips_make_few_shards_and_one_twice_is_kept_once(shards, monkeypatch):
    monkeypatch.setattr(cache_shards, "SHARD_BYTES", 5 * clip(4).nbytes)
    first, second = writer(shards), writer(shards)
    for number in range(10):
        first.add(str(number), clip(4))
        first.add(str(number), clip(4))
    assert len(list(shards.folder.iterdir())) == 2
    second.add("9", clip(4))
    second.flush()
    assert len(list(shards.folder.iterdir())) == 2
    assert len(shards) == 10


def test_a_clip_does_not_wait_longer_than_it_must(shards, monkeypatch):
    monkeypatch.setattr(cache_shards, "WAIT_S", 0.0)
    writer(shards).add("a", clip(4))
    assert "a" in shards


def test_a_cut_shard_is_made_again(shards, caplog):
    path = write_shard(shards.folder, "space", {"a": clip(4)})
    path.write_bytes(path.read_bytes()[:-5])
    assert shards.find("a") is None
    assert path.name in caplog.text
    assert not path.exists()
    write_shard(shards.folder, "space", {"a": clip(4)})
    assert same(shards.find("a"), clip(4))


def test_a_shard_with_a_changed_byte_is_made_again(shards, caplog):
    path = write_shard(shards.folder, "space", {"a": clip(4), "b": clip(4, seed=1)})
    content = bytearray(path.read_bytes())
    at = content.index(clip(4, seed=1).states.numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert same(shards.find("a"), clip(4))
    assert shards.find("b") is None
    assert "checksum mismatch" in caplog.text
    assert not path.exists()
    assert shards.find("a") is None


@pytest.mark.parametrize("foreign", ["another space", "no metadata"])
def test_a_foreign_shard_is_named_and_left_alone(shards, caplog, foreign):
    path = write_shard(shards.folder, "other", {"a": clip(4)})
    if foreign == "no metadata":
        cache_shards.write_tensors({"a": torch.zeros(3)}, path)
    before = path.read_bytes()
    assert shards.find("a") is None
    assert path.name in caplog.text
    assert path.read_bytes() == before


def test_a_shard_that_is_being_written_is_not_there(shards):
    path = write_shard(shards.folder, "space", {"a": clip(4)})
    path.rename(path.with_name(f".{path.name}.123.partial"))
    assert shards.find("a") is None


def test_the_limit_ends_the_writing_and_not_the_run(shards, caplog):
    other = shards.folder.parent / "other"
    write_shard(other, "other", {"a": clip(4)})
    size = cache_shards.bytes_below(shards.folder.parent)
    full = writer(shards, size + clip(4).nbytes - 1)
    full.add("a", clip(4))
    full.flush()
    full.add("b", clip(4))
    full.flush()
    assert full.closed
    assert caplog.text.count("limit_gb") == 1
    assert len(shards) == 0
    fits = writer(shards, size + clip(4).nbytes)
    fits.add("a", clip(4))
    fits.flush()
    assert len(shards) == 1


def test_a_folder_that_cannot_be_written_to_ends_the_writing_and_not_the_run(shards, caplog):
    shards.folder.write_text("a file where the folder should be")
    full = writer(shards)
    full.add("a", clip(4))
    full.flush()
    assert full.closed
    assert "cannot write" in caplog.text


def test_sizes_alone_can_be_asked_for(shards):
    write_shard(shards.folder, "space", {"a": clip(4, 2)})
    found = StateShards(shards.folder, "space", sizes_only=True).find("a")
    assert found.states.shape == (0, 3)
    assert found.valid.tolist() == [4, 2]


def test_what_another_process_removed_is_made_again(shards):
    path = write_shard(shards.folder, "space", {"a": clip(4)})
    assert "a" in shards
    path.unlink()  # as who finds it damaged does
    writing = writer(shards)
    writing.add("a", clip(4))
    writing.flush()
    assert same(shards.find("a"), clip(4))


def test_autocast_has_no_cat_of_float16_and_none_is_asked_of_it(shards):
    one = clip(4, dtype=torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        write_shard(shards.folder, "space", {"a": one, "b": clip(3, dtype=torch.float16)})
    assert same(shards.find("a"), one)
