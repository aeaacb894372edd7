"""A run's weights as the package ships them: half as large, with what they are."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def checkpoint(folder, value):
    path = folder / "checkpoint_best.safetensors"
    save_file({"gains.general": torch.tensor([value, 0.5])}, path, {"routing": "{}"})
    facts = {"recipe": "small_lal", "step": 7, "model": {"arch": "pal"}, "components": ["gains"]}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def test_what_is_exported_is_the_checkpoint_in_float16(script, tmp_path):
    export = script("export").export
    target = tmp_path / "small.safetensors"
    export(checkpoint(tmp_path, 0.1), target)
    (kept,) = load_file(target).values()
    assert torch.equal(kept, torch.tensor([0.1, 0.5], dtype=torch.float16))
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"routing": "{}"}
    facts = json.loads(target.with_suffix(".json").read_text())
    assert facts == {"recipe": "small_lal", "step": 7, "components": ["gains"]}


def test_a_weight_beyond_float16_is_named(script, tmp_path):
    export = script("export").export
    with pytest.raises(ValueError, match=r"gains\.general exceed the range"):
        export(checkpoint(tmp_path, 1e6), tmp_path / "small.safetensors")
    assert not (tmp_path / "small.safetensors").exists()
