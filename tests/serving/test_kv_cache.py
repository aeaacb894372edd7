"""KV caches of rows that come and go: which columns remain, and when none can be given back."""

import pytest
import torch
from families import VOCAB, build
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pal_plugin.llm.label_tree import cache_keyword
from pal_plugin.serving import kv_cache


def read(llm, rows, columns):
    cache, generator = DynamicCache(config=llm.config), torch.Generator().manual_seed(columns)
    ids = torch.randint(1, VOCAB, (rows, columns), generator=generator)
    decoder = llm.get_decoder()
    decoder(input_ids=ids, use_cache=True, **{cache_keyword(decoder): cache})
    return cache


@torch.no_grad()
def test_rows_end_in_the_last_column():
    llm = build("gemma3", "sdpa")  # windows of 3 in the first and the last layer
    short, long = read(llm, 1, 2), read(llm, 2, 5)
    both = kv_cache.merged([short, long])
    assert both.get_seq_length() == 5
    assert [layer.keys.shape[2] for layer in both.layers] == [2, 5, 2]
    assert torch.equal(both.layers[1].keys[:1, :, 3:], short.layers[1].keys)
    assert not both.layers[1].values[:1, :, :3].any()
    assert torch.equal(both.layers[0].keys[:1], short.layers[0].keys)
    one = kv_cache.selected(both, torch.tensor([0]), 2)
    assert one.get_seq_length() == 2
    for mine, theirs in zip(one.layers, short.layers, strict=True):
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)
    assert kv_cache.nbytes(both) == sum(2 * layer.keys.nbytes for layer in both.layers)
    assert long.get_seq_length() == 5  # the parts stay as they are


@torch.no_grad()
@pytest.mark.parametrize(("columns", "kept"), [(2, 1), (5, None)])
def test_what_a_window_dropped_is_not_given_back(columns, kept):
    cache = read(build("gemma3", "sdpa"), 1, columns)
    assert kv_cache.cropped(cache, columns).get_seq_length() == columns
    cut = kv_cache.cropped(cache, 1)
    assert (cut and cut.get_seq_length()) == kept
    full = kv_cache.cropped(read(build("llama", "sdpa"), 1, columns), 1)
    assert [layer.keys.shape[2] for layer in full.layers] == [1, 1, 1]


def test_what_holds_another_state_is_not_merged():
    class State(DynamicLayer):
        pass

    cache = DynamicCache(config=build("gemma3", "sdpa").config)
    assert kv_cache.is_mergeable(cache)
    cache.layers[1] = State()
    assert not kv_cache.is_mergeable(cache)
