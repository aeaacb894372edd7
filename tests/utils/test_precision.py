"""`run.amp`: words for precisions, and what does not go."""

import pytest
import torch

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match="needs cuda"):
        Precision("fp16", torch.device("cpu"))
