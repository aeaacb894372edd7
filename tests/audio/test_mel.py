"""Sums over mel filters."""

import pytest
import torch


@pytest.mark.parametrize("n_mels", [1, 3, 200])
def test_any_number_of_filters_sums_what_each_reads(n_mels):
    from pal_plugin.audio.mel import Filters

    matrix = torch.rand(50, n_mels) * (torch.rand(50, n_mels) < 0.05)
    matrix[:, 0] = 0  # more filters than bins leave some that read nothing
    power, out = torch.rand(7, 50), torch.empty(7, n_mels)
    Filters(matrix, torch.float32, torch.device("cpu")).sum(power, out)
    torch.testing.assert_close(out, power @ matrix)
