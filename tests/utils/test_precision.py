"""`run.amp`: words for precisions, and what does not go."""

import pytest
import torch

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match="needs cuda"):
        Precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [
        ("none", torch.float32),
        ("fp32", torch.float32),
        (None, torch.float32),
        (False, torch.float32),
        ("bf16", torch.bfloat16),
        (True, torch.bfloat16),
    ],
)
def test_words_and_yes_or_no_choose_the_type_of_products(amp, dtype):
    precision = Precision(amp, torch.device("cpu"))
    with precision.autocast():
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype
    assert not precision.scaler.is_enabled()


def test_another_word_is_told_what_there_is():
    with pytest.raises(ConfigError, match="run.amp is 'fp8'; expected none"):
        Precision("fp8", torch.device("cpu"))
