"""The machine and its folders."""

import sys
from types import SimpleNamespace

import pytest

from pal_plugin.utils import machine


def test_cores_and_memory_are_told():
    facts = dict(machine.computer())
    assert int(facts["cores"]) >= 1
    assert float(facts["memory"].split()[0]) > 0
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def torch_with(monkeypatch):
    """`torch_with(*GPUs)`: what torch sees from here on."""

    def make(*gpus, cuda="13.0"):
        seen = SimpleNamespace(
            is_available=lambda: bool(gpus),
            device_count=lambda: len(gpus),
            get_device_properties=lambda number: gpus[number],
        )
        version = SimpleNamespace(cuda=cuda, hip=None)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=seen, version=version))

    return make


def test_each_gpu_is_told_with_its_memory(torch_with):
    torch_with(*(SimpleNamespace(name=f"H{n}", total_memory=n * 2**30) for n in (80, 141)))
    gpus = [told for name, told in machine.computer() if name == "GPU"]
    assert gpus == ["cuda:0 H80, 80.0 GiB", "cuda:1 H141, 141.0 GiB"]


@pytest.mark.parametrize(("cuda", "told"), [("13.0", "CUDA"), (None, "CPU only")])
def test_without_a_gpu_it_is_said_what_torch_is_built_for(torch_with, cuda, told):
    torch_with(cuda=cuda)
    assert dict(machine.computer())["GPU"] == f"none visible to torch (built for {told})"


def test_without_torch_gpus_are_not_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in dict(machine.computer())["GPU"]


def test_folders_are_told_with_their_size_and_what_is_in_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub_home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("PAL_DATA", str(tmp_path / "gone"))
    model = tmp_path / "cache" / "weights" / "mine"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(bytes(20_000_000))
    (tmp_path / "hub_home" / "hub" / "models--owner--name").mkdir(parents=True)
    (tmp_path / "hub_home" / "hub" / ".locks").mkdir()
    told = {what: place for what, place, _ in machine.folders()}
    assert told["weights"] == f"{tmp_path}/cache/weights (0.02 GB)"
    assert told["encoder states"].endswith("(does not exist)")
    assert told["data"] == f"{tmp_path}/gone (no folder)"
    assert machine.cached_weights() == ["weights://mine", "owner/name"]
