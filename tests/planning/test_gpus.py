"""GPUs by name or by size, and what of their memory a plan may use."""

import pytest

from pal_plugin.planning.gpus import CONTEXT_GIB, FRAGMENTATION, GIB, gpu_gib, needed_gib
from pal_plugin.utils.errors import ConfigError


def test_a_gpu_is_known_by_its_name_or_by_a_number_of_gib():
    assert gpu_gib("H100") == gpu_gib("h100") == 79.0
    assert gpu_gib("23.5") == gpu_gib("rtx4090")


@pytest.mark.parametrize("name", ["h900", "0", "-8", "nan", "inf", "1e9", ""])
def test_other_names_are_told_what_is_expected(name):
    with pytest.raises(ConfigError, match=rf"--gpu is '{name}'; expected h100, .* or a number of"):
        gpu_gib(name)


def test_tensors_need_more_than_their_bytes():
    assert needed_gib(0) == CONTEXT_GIB
    assert needed_gib(4 * GIB) == pytest.approx(4 * (1 + FRAGMENTATION) + CONTEXT_GIB)
