"""What is counted: storages once, what is alive, pairs that a causal mask leaves."""

import torch
from torch.nn import functional as F

from pal_plugin.planning.counting import LiveBytes, SavedBytes, flop_counter
from pal_plugin.planning.meta import on_meta


def test_saved_bytes_count_each_storage_once_and_no_parameter():
    x = torch.randn(4, 5, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(5, 3))
    saved = SavedBytes(without=[weight])
    with saved.hooks():
        y = (x @ weight).exp()  # saves x, weight, y
        (y.T * y.view(3, 4)).sum()  # saves two views of y
    assert saved.total == 4 * (4 * 5 + 4 * 3)


def test_live_bytes_are_what_is_alive_and_the_most_at_once():
    x, live = torch.randn(4, 5), LiveBytes()
    with live:
        y = x.sin().cos()  # the sine is alive while the cosine is made
        made = live.made
        view = y.T
        z = y + 1
    assert live.total == 2 * 80
    assert live.peak == (2 * 80, 0)
    assert live.since(made) == 80
    del y, z
    assert live.total == 80
    del view
    assert live.total == 0


def test_causal_attention_counts_the_pairs_that_are_not_masked():
    query = torch.empty(2, 3, 5, 4, device="meta")
    key = torch.empty(2, 3, 7, 4, device="meta")
    for keys, causal, pairs in ((query, True, 5 * 6 // 2), (query, False, 25), (key, False, 35)):
        with on_meta(), flop_counter() as counter:
            F.scaled_dot_product_attention(query, keys, keys, is_causal=causal)
        assert counter.get_total_flops() == 2 * (2 * 3) * pairs * (4 + 4)
