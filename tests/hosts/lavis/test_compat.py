"""The shims and the registration."""

import subprocess
import sys

import pytest
import torch

import pal_plugin
from pal_plugin.config.zoo import MODEL_TYPES
from pal_plugin.hosts.lavis import compat, registration


def test_installing_twice_changes_nothing():
    import transformers.modeling_utils as modeling_utils

    names = ("apply_chunking_to_forward", "prune_linear_layer", "find_pruneable_heads_and_indices")
    before = [getattr(modeling_utils, name) for name in names]
    compat.install()
    assert [getattr(modeling_utils, name) for name in names] == before


def test_pruned_heads_are_left_out_of_the_indices():
    # Of 4 heads of size 2, head 1 went earlier: 3 are left, numbered 0, 2, 3 as in the full layer.
    remaining, index = compat._find_pruneable_heads_and_indices([1, 2], 3, 2, {1})
    assert remaining == {2}
    assert torch.equal(index, torch.tensor([0, 1, 4, 5]))


def test_device_maps_place_each_layer_once():
    device_map = compat._get_device_map(5, [0, 1])
    assert device_map == {0: [0, 1, 2], 1: [3, 4]}
    compat._assert_device_map(device_map, 5)
    with pytest.raises(ValueError, match=r"0\.\.5"):
        compat._assert_device_map(device_map, 6)


def test_decord_is_replaced_only_where_it_is_absent(monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "decord" else find_spec(name)
    )
    monkeypatch.delitem(sys.modules, "decord", raising=False)
    compat._stand_in_for_decord()
    import decord

    assert decord.__doc__ == "Stand-in made by pal_plugin.hosts.lavis.compat."
    decord.bridge.set_bridge("torch")
    with pytest.raises(ImportError, match="pip install decord"):
        decord.VideoReader("clip.mp4")
    monkeypatch.delitem(sys.modules, "decord")


def test_importing_registers_everything():
    from lavis.common.registry import registry
    from lavis.datasets.builders import dataset_zoo
    from lavis.models import model_zoo

    assert dict(model_zoo)["pal"] == list(MODEL_TYPES)
    assert MODEL_TYPES.keys() >= {"lal", "plits", "pal", "flamingo", "full", "small"}
    assert dataset_zoo.dataset_zoo["pal_soundworld"] == ["default"]
    assert {"pal_clips", "pal_audiocaps"} <= set(dataset_zoo.get_names())
    assert "runner_pal" in registry.list_runners()
    assert {"pal_warmup_cosine", "linear_warmup_cosine_lr"} <= set(registry.list_lr_schedulers())
    assert "pal_instruct" in registry.list_tasks()
    assert {"pal_audio", "pal_text"} <= set(registry.list_processors())
    registration.register_all()  # a second time is harmless
    assert pal_plugin.__version__


@pytest.mark.slow
def test_a_lavis_that_does_not_import_shows_its_own_error(tmp_path):
    (tmp_path / "lavis.py").write_text("import a_module_that_lavis_misses")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pal_plugin, lavis"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "No module named 'a_module_that_lavis_misses'" in done.stderr
