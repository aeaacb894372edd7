"""From a configuration to a run: threads, seed, and which checkpoint is meant."""

import random

import numpy as np
import pytest

from pal_plugin.training import launch
from pal_plugin.utils.errors import ConfigError


def test_threads_are_left_alone_unless_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(launch.torch, "set_num_threads", asked.append)
    monkeypatch.setattr(launch, "usable_cores", lambda: 8)
    launch.set_threads(None, 2)
    assert asked == []
    launch.set_threads("auto", 2)
    launch.set_threads("auto", 20)
    launch.set_threads(3, 2)
    launch.set_threads(2.0, 2)
    assert asked == [6, 1, 3, 2]
    assert type(asked[-1]) is int


def test_a_seed_repeats_python_numpy_and_torch():
    drawn = []
    for _ in range(2):
        launch.set_seed(2**32 + 7)  # NumPy takes 32 bits
        drawn.append((random.random(), np.random.rand(), launch.torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_a_checkpoint_is_looked_up_unless_it_comes_with_the_package(toy):
    assert (
        launch.located("pocket://sslam.safetensors", toy.config()) == "pocket://sslam.safetensors"
    )
    with pytest.raises(ConfigError, match="pal train"):
        launch.located("latest:toy_recipe", toy.config())


@pytest.mark.parametrize("start", [launch.train, launch.evaluate])
def test_the_output_folder_is_looked_at_before_anything_is_loaded(toy, start, monkeypatch):
    monkeypatch.setattr(launch, "build_run", lambda *_: pytest.fail("a run was built"))
    (toy.folder / "file").touch()
    with pytest.raises(ConfigError, match="file is a file; expected a folder"):
        start(toy.config("run.output_dir=file/runs"))
