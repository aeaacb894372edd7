"""Clips are encoded once while there is room, and the one used longest ago goes first."""

import torch

from pal_plugin.serving.clip_cache import ClipCache


def test_a_clip_is_encoded_once_under_a_limit(tiny_model, two_clips, monkeypatch):
    model, (short, long) = tiny_model("pal"), two_clips["audio"]
    size = model.encode(short).nbytes
    room = size + model.encode(long).nbytes
    encoded, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda clip: encoded.append(len(clip[0])) or encode(clip))
    cache = ClipCache(model, room + 10)
    assert cache.known("short") is None
    first = cache.get("short", short)
    assert cache.known("short") is first
    assert cache.get("short", short) is first
    cache.get("long", long)
    assert cache.nbytes == room
    cache.get("short", short)
    cache.get("another", short)  # in the place of the long one
    assert cache.nbytes == 2 * size
    cache.get("short", short)
    assert (cache.hits, cache.misses) == (3, 3)
    assert encoded == [len(short[0]), len(long[0]), len(short[0])]
    with torch.no_grad():
        next(model.connectors.parameters()).add_(0.1)
    assert cache.get("short", short) is not first  # other weights make another clip of it


def test_what_does_not_fit_is_not_kept(tiny_model, two_clips):
    model, (short, long) = tiny_model("lal"), two_clips["audio"]
    size = model.encode(short).nbytes
    cache = ClipCache(model, size)
    cache.get("short", short)
    cache.get("long", long)
    assert cache.nbytes == size
    cache.get("short", short)
    assert (cache.hits, cache.misses) == (1, 2)
