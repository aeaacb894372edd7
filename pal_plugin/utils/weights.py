"""Weight files: read without running code from them, and loaded completely or not at all."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pal_plugin.utils.files import replacing


def write_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file atomically, with the permissions of the umask.

    `save_file` makes it readable by its owner only, so that others could not load a checkpoint.

    Args:
        tensors: by name, of any shapes [...].
        path: the file.
        metadata: of the safetensors header.
    """
    mask = os.umask(0)
    os.umask(mask)
    with replacing(Path(path)) as temporary:
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata)
        os.chmod(temporary, 0o666 & ~mask)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: `.safetensors`, a torch file (`.pt`, `.pth`, `.bin`;
    read with `weights_only=True`), or a folder written by `save_pretrained` (sharded or not).

    Weights nested under "model" or "state_dict" are unpacked.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ValueError: an unknown format, a damaged or truncated file, or one with more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        # safetensors first: a folder from the hub may hold both kinds, whole or in shards.
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (path / name).is_file():
                return read_weights(path / name)
            index = path / f"{name}.index.json"
            if index.is_file():
                shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
                return {k: v for shard in shards for k, v in read_weights(path / shard).items()}
        raise FileNotFoundError(f"no model.safetensors or pytorch_model.bin in {path}")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    check_is_no_stand_in(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is unreadable (truncated?): {error}") from error
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"expected a .safetensors, .pt, .pth or .bin checkpoint, got {path.name}")
    check_is_torch_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is unreadable (truncated?): {error}") from error
    except pickle.UnpicklingError as error:
        if "truncated" in str(error):
            raise ValueError(f"{path} is truncated: {error}") from error
        raise ValueError(
            f"{path.name} contains more than tensors and is not unpickled, because that runs code "
            f"from the file. `python -m pal_plugin.encoders.convert {path} OUT.safetensors` copies "
            "its tensors without running code; then give OUT.safetensors"
        ) from error
    return named_tensors(content, path.name)


def check_is_no_stand_in(path: Path) -> None:
    """Raise ValueError for an empty file, a Git LFS pointer or a web page instead of weights."""
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        raise ValueError(f"{path} is empty (0 bytes); download it again")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` to download them"
        )
    if head.lstrip().startswith(b"<"):
        raise ValueError(f"{path} is a web page, not the weights; download the file itself")


def check_is_torch_file(path: Path) -> None:
    """Raise ValueError for a file that `torch.save` did not write, or that is truncated."""
    with open(path, "rb") as file:
        head = file.read(4)
    if head.startswith(b"PK"):  # an archive, whose directory is at its end
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is truncated; download it again")
    elif not head.startswith(b"\x80"):  # a pickle, as torch wrote before 1.6
        raise ValueError(f"{path} was not written by torch.save; it begins with {head!r}")


def named_tensors(content: object, name: str) -> dict[str, Tensor]:
    """The tensors in a checkpoint's content, which may nest them under "model" or "state_dict".

    Other entries (optimizer state, a nested "_ema") are dropped.

    Raises:
        ValueError: the content is no mapping.
    """
    entries = named_entries(content, name)
    return {key: value for key, value in entries.items() if isinstance(value, Tensor)}


def named_entries(content: object, name: str) -> Mapping[str, object]:
    """As `named_tensors`, with the entries that are no tensors."""
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{name} contains a {type(content).__name__}, expected named tensors")
    return content


def load_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    source: str | Path,
    *,
    computed: tuple[str, ...] = (),
    unknown: Iterable[str] = (),
    hint: str = "check the sizes in the encoder's 'model' settings and the file",
) -> None:
    """Load all tensors into a module, or raise an error that lists all mismatches.

    Args:
        module: to load into.
        weights: tensors by the module's names.
        source: of the weights, for the message.
        computed: suffixes of keys that may be absent because the module computes them.
        unknown: further keys of the file that could not be mapped.
        hint: what to check if keys or shapes differ.

    Raises:
        ValueError: lists every missing and unexpected key, and those of another shape.
    """
    own = module.state_dict()
    problems = {
        "missing keys": [
            k for k in own if k not in weights and not k.endswith(computed or ("\0",))
        ],
        "unexpected keys": [*unknown, *(k for k in weights if k not in own)],
        "other shapes": [
            f"{k}: checkpoint {tuple(weights[k].shape)}, model {tuple(own[k].shape)}"
            for k in own
            if k in weights and weights[k].shape != own[k].shape
        ],
    }
    listed = [f"{title}: {', '.join(keys)}" for title, keys in problems.items() if keys]
    if listed:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}; {hint}. {'; '.join(listed)}"
        )
    # Complete by the check above; keys in `computed` keep the module's own values.
    module.load_state_dict({**own, **weights})
