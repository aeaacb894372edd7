"""Meta tensors run through attention, masks and autocast; real ones are left alone."""

import torch
from torch.nn import functional as F

from pal_plugin.planning.meta import on_meta


def test_attention_and_the_truth_of_a_mask_need_no_values():
    query, key = (torch.empty(1, 4, n, 8, device="meta", requires_grad=True) for n in (3, 5))
    with on_meta():
        heard = F.scaled_dot_product_attention(query, key, key)
        assert torch.ones(2, device="meta").all()
        torch.autograd.backward(heard.sum())
    assert heard.shape == query.shape
    assert key.grad.shape == key.shape


def test_autocast_gives_products_the_lower_type_and_sums_float32():
    layer, x = torch.nn.Linear(4, 3, device="meta"), torch.empty(2, 4, device="meta")
    with on_meta(torch.bfloat16):
        assert torch.is_autocast_enabled("meta")
        product = layer(x)
        assert product.dtype == torch.bfloat16
        assert product.softmax(-1).dtype == torch.float32
        with torch.autocast("meta", enabled=False):
            assert not torch.is_autocast_enabled("meta")
            assert layer(x).dtype == torch.float32
    with on_meta():
        assert layer(x).dtype == torch.float32


def test_real_tensors_are_left_alone():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(4, 3), torch.randn(2, 4)
    expected = layer(x)
    with on_meta(torch.bfloat16):
        found = layer(x)
        assert not torch.zeros(2).all()
    assert torch.equal(found, expected)
