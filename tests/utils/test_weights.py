"""Checkpoint files: folders with shards, and which of several files of a folder is read."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pal_plugin.utils.weights import read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "b": torch.zeros(1)}
KEYS = list(WEIGHTS)


def write_shards(folder, name, save):
    """Two files and their index, as `save_pretrained` lays them."""
    stem, ending = name.split(".")
    index = {}
    for number, keys in enumerate((KEYS[:1], KEYS[1:]), 1):
        shard = f"{stem}-{number:05}-of-00002.{ending}"
        save({key: WEIGHTS[key] for key in keys}, folder / shard)
        index |= dict.fromkeys(keys, shard)
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": index}))


FORMS = {
    "safetensors": lambda folder: save_file(WEIGHTS, folder / "model.safetensors"),
    "safetensors shards": lambda folder: write_shards(folder, "model.safetensors", save_file),
    "torch": lambda folder: torch.save(WEIGHTS, folder / "pytorch_model.bin"),
    "torch shards": lambda folder: write_shards(folder, "pytorch_model.bin", torch.save),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_folder_is_read_in_full(tmp_path, form):
    FORMS[form](tmp_path)
    read = read_weights(tmp_path)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in KEYS)


@pytest.mark.parametrize("form", ["safetensors", "safetensors shards"])
def test_safetensors_are_read_where_both_are_there(tmp_path, form):
    FORMS[form](tmp_path)
    torch.save({"other": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    write_shards(tmp_path, "pytorch_model.bin", lambda _, path: torch.save({}, path))
    assert read_weights(tmp_path).keys() == WEIGHTS.keys()


@pytest.mark.parametrize("nested", ["model", "state_dict"])
@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
def test_training_files_are_unpacked(tmp_path, nested, ending):
    path = tmp_path / f"w.{ending}"
    torch.save({nested: {**WEIGHTS, "_ema": {"b": torch.ones(1)}}, "epoch": 3}, path)
    read = read_weights(path)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in KEYS)


def test_a_file_without_names_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt contains a list, expected named tensors"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"anything else at all", r"not written by torch\.save|truncated\?"),
    ],
)
def test_what_a_failed_download_leaves_is_named(tmp_path, content, ending, message):
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_file_that_is_cut_off_is_named(tmp_path, form):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    weights = {"a": torch.randn(100, 100)}
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    for percent in (1, 20, 50, 90, 99):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(ValueError, match="truncated"):
            read_weights(path)
