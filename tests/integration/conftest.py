"""Helpers beside the tests, and one thread: these models are too small to share out."""

import sys
from pathlib import Path

import pytest
import torch

# Importlib mode alone lets no test import the modules beside it (families, reference, ...).
sys.path.insert(0, str(Path(__file__).parent))
# And this repository's `benchmarks`: fairscale installs one of the same name.
sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
