"""Copies the tensors of a torch file to .safetensors without executing anything in the file.

    python -m pal_plugin.encoders.convert IN.pt OUT.safetensors

For training checkpoints such as fairseq's, which hold settings (`args`, `cfg`) as pickled Python
objects. Design choice: these objects are never constructed. Unpickling calls whatever a file names;
here only the functions that rebuild tensors are resolved, and every other name becomes an inert
placeholder. So the file need not be trusted and fairseq need not be installed.
"""

from __future__ import annotations

import argparse
import collections
import pickle
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pal_plugin.utils.weights import (
    check_is_no_stand_in,
    check_is_torch_file,
    named_entries,
    write_tensors,
)


def _without_state(data: Tensor, requires_grad: bool, hooks: Any, state: Any) -> Tensor:
    """Rebuilds a parameter without its custom attributes."""
    return torch._utils._rebuild_parameter(data, requires_grad, hooks)


def _without_type(rebuild: Any, kind: Any, arguments: tuple, state: Any) -> Any:
    """Rebuilds a tensor subclass, or one with attributes, as a plain tensor."""
    return rebuild(*arguments)


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _without_state,
    ("torch._tensor", "_rebuild_from_type_v2"): _without_type,
}


class Inert:
    """Placeholder for any pickled object: accepts all operations of unpickling, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return super().__new__(cls)

    def _ignore(self, *args: Any, **kwargs: Any) -> Inert:
        return self

    __call__ = __setitem__ = __setstate__ = append = extend = add = _ignore


class _TensorsOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), Inert)


def _load(file: BinaryIO, **arguments: Any) -> Any:
    return _TensorsOnly(file, **arguments).load()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors [...] of a `.pt` file (nested under "model" or "state_dict", if present),
    and the keys with other content.

    Raises:
        ValueError: if the file was not written by `torch.save`, or has no named tensors.
    """
    check_is_no_stand_in(path)
    check_is_torch_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch.load would pass a TorchScript archive to another loader.
            if any(name.endswith("constants.pkl") for name in archive.namelist()):
                raise ValueError(f"{path.name} is a TorchScript archive, not a file of torch.save")
    reader = SimpleNamespace(Unpickler=_TensorsOnly, load=_load, __name__="tensors only")
    try:
        # Not weights_only, which rejects such files, but the stricter `reader`: it creates
        # tensors and placeholders, and calls nothing that the file names.
        content = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except (
        *(pickle.UnpicklingError, EOFError, OSError, RuntimeError),
        *(AttributeError, TypeError),
    ) as error:
        raise ValueError(f"{path.name} was not written by torch.save: {error}") from error
    entries = named_entries(content, path.name)
    # Clones, since .safetensors does not allow shared storage.
    tensors = {
        key: value.detach().clone().contiguous()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise ValueError(f"{path.name} has no named tensors; keys: {list(content)[:10]}")
    return tensors, [str(key) for key in entries if key not in tensors]


def main(arguments: list[str] | None = None) -> int:
    """Command line entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pal_plugin.encoders.convert",
        description="Copy the tensors of a torch file to .safetensors. Nothing in the file is "
        "executed; names of functions and classes in it are not resolved.",
    )
    parser.add_argument("source", metavar="IN.pt", type=Path)
    parser.add_argument("target", metavar="OUT.safetensors", type=Path)
    options = parser.parse_args(arguments)
    if not options.source.is_file():
        parser.error(f"{options.source} does not exist")
    if options.target.suffix != ".safetensors":
        parser.error(f"expected OUT.safetensors, got {options.target.name}")
    if options.target.exists():
        parser.error(f"{options.target} exists; move or delete it first")
    try:
        tensors, others = read_tensors(options.source)
    except ValueError as error:
        parser.error(str(error))
    write_tensors(tensors, options.target)
    values = sum(tensor.numel() for tensor in tensors.values())
    print(f"{options.target}: {len(tensors)} tensors, {values / 1e6:.2f} M values")
    if others:
        print(f"skipped, not plain tensors: {', '.join(others)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
