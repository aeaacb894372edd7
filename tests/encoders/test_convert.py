"""The conversion of torch files with objects in them: tensors arrive, nothing is executed."""

import argparse
import collections
import enum
import os
import sys
import types

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from pal_plugin.encoders import SSLAM
from pal_plugin.encoders.convert import main

SIZE = {"embed_dim": 16, "depth": 1, "num_heads": 2}


class Colour(enum.Enum):
    RED = 1


class Malicious:
    """Runs a command where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def fairseq_file(path, weights, **objects) -> None:
    """A training file with what fairseq puts beside the weights, its own classes included."""
    module = types.ModuleType("fairseq_is_not_here")
    module.Settings = type("Settings", (dict,), {"__module__": module.__name__})
    module.Meters = type("Meters", (list,), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    settings = module.Settings(lr=1e-4)
    settings.nested = {"names": {"a", "b"}}
    content = {
        "args": argparse.Namespace(arch="eat", lr=[1e-4]),
        "cfg": OmegaConf.create({"model": {"depth": 12, "names": ["a", "b"]}}),
        "model": {**weights, "_ema": {"x": torch.zeros(2)}},
        "optimizer_history": [{"state": settings, "meters": module.Meters([1, 2])}],
        "extra_state": collections.defaultdict(list, {"losses": [0.5], "colour": Colour.RED}),
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}},
        **objects,
    }
    try:
        torch.save(content, path)
    finally:
        del sys.modules[module.__name__]  # the reader has no such module


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return SSLAM(**SIZE).state_dict()


def test_a_file_with_objects_becomes_a_checkpoint(tmp_path, weights, capsys):
    source, target = tmp_path / "eat.pt", tmp_path / "eat.safetensors"
    half = {key: value.half() for key, value in weights.items()}
    fairseq_file(source, half | {"cls_token": torch.nn.Parameter(half["cls_token"])})
    with pytest.raises(ValueError, match=r"not unpickled.*pal_plugin\.encoders\.convert .*eat\.pt"):
        SSLAM.from_checkpoint(source, **SIZE)
    assert main([str(source), str(target)]) == 0
    assert f"{len(weights)} tensors" in capsys.readouterr().out
    written = load_file(target)
    assert written.keys() == half.keys()
    assert all(torch.equal(written[key], half[key]) for key in half)
    loaded = SSLAM.from_checkpoint(target, **SIZE).state_dict()
    assert all(torch.equal(loaded[key], half[key].float()) for key in half)


class Kind(torch.Tensor):
    """A tensor class of its own."""


def test_tensors_of_every_form_arrive_and_the_rest_is_listed(tmp_path, capsys):
    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.note = torch.randn(3).numpy()
    noted = torch.randn(3)
    noted.note = "x"
    forms = {
        "plain": torch.randn(2),
        "parameter": parameter,
        "noted": noted,
        "buffer": torch.nn.Buffer(torch.randn(2)),
        "kind": torch.randn(2).as_subclass(Kind),
    }
    torch.save({"model": {**forms, "step": 3, "names": ["a"]}}, tmp_path / "a.pt")
    target = tmp_path / "a.safetensors"
    assert main([str(tmp_path / "a.pt"), str(target)]) == 0
    written = load_file(target)
    assert written.keys() == forms.keys()
    assert all(torch.equal(written[key], torch.Tensor(forms[key].detach())) for key in forms)
    assert "skipped, not plain tensors: step, names" in capsys.readouterr().out


def test_an_interrupted_conversion_leaves_no_checkpoint(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")

    def interrupted(_, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pal_plugin.utils.weights.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main([str(tmp_path / "a.pt"), str(tmp_path / "a.safetensors")])
    assert not (tmp_path / "a.safetensors").exists()


def test_code_in_a_file_does_not_run(tmp_path, weights):
    marker = tmp_path / "marker"
    bad = Malicious(marker)
    fairseq_file(tmp_path / "bad.pt", weights, cfg=bad, hooks=[bad, {"again": bad}])
    assert main([str(tmp_path / "bad.pt"), str(tmp_path / "out.safetensors")]) == 0
    assert not marker.exists()
    assert load_file(tmp_path / "out.safetensors").keys() == weights.keys()
    torch.save({"cfg": bad}, tmp_path / "control.pt")
    # Unsafe on purpose, on a file written here: it shows that the code above would have run.
    torch.load(tmp_path / "control.pt", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    "way_in",
    [
        (eval, ("open({!r}, 'w')",)),
        (exec, ("open({!r}, 'w')",)),
        (torch.load, ("{}",)),
        (torch.hub.load, ("{}", "x")),
    ],
)
@pytest.mark.parametrize("old_format", [False, True])
def test_other_ways_in_are_closed_too(tmp_path, weights, way_in, old_format):
    marker = tmp_path / "marker"
    function, arguments = way_in

    class Bad:
        def __reduce__(self):
            return (function, tuple(text.format(str(marker)) for text in arguments))

    source = tmp_path / "bad.pt"
    content = {"args": Bad(), "model": weights}
    torch.save(content, source, _use_new_zipfile_serialization=not old_format)
    assert main([str(source), str(tmp_path / "out.safetensors")]) == 0
    assert not marker.exists()
    written = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(written[key], weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("version https://git-lfs"), "Git LFS pointer"),
        (lambda path: path.write_text("something else"), "not written by torch.save"),
        (lambda path: torch.save([1, 2], path), "contains a list, expected named tensors"),
        (lambda path: torch.save({"model": {"a": 1}}, path), "no named tensors"),
        (lambda path: torch.jit.script(torch.nn.Identity()).save(path), "TorchScript archive"),
        (lambda path: None, "does not exist"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_cannot_be_converted_is_explained(tmp_path, capsys, write, message):
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    write(source)
    with pytest.raises(SystemExit):
        main([str(source), str(target)])
    assert message in capsys.readouterr().err
    assert not target.exists()


def test_nothing_is_overwritten_and_help_says_what_is_done(tmp_path, capsys):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"mine")
    (tmp_path / "in.pt").write_bytes(b"")
    for arguments, message in (
        ([str(tmp_path / "in.pt"), str(target)], "exists; move or delete it"),
        ([str(tmp_path / "in.pt"), str(tmp_path / "out.pt")], r"expected OUT.safetensors"),
        (["--help"], "Nothing in the file is"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        captured = capsys.readouterr()
        assert message in captured.out + captured.err
    assert target.read_bytes() == b"mine"
