"""Weights of others: files are read without running anything, and loaded whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: `.safetensors`, a torch file (`.pt`, `.pth`, `.bin`; read with
    `weights_only=True`), or a folder as `save_pretrained` writes it (shards included).

    A training file that nests the weights under "model" or "state_dict" is unpacked.

    Raises:
        FileNotFoundError, ValueError: nothing there, or no known form.
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
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"expected a .safetensors, .pt, .pth or .bin checkpoint, got {path.name}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} holds more than tensors and is not unpickled, because that runs code "
            f"from the file. `python -m pal_plugin.encoders.convert {path} OUT.safetensors` copies "
            "its tensors and runs nothing; then give OUT.safetensors"
        ) from error
    return named_tensors(content, path.name)


def named_tensors(content: object, name: str) -> dict[str, Tensor]:
    """The tensors of a training file's content, which may nest them under "model" or "state_dict".

    What is no tensor (an optimizer's state, a nested "_ema") is left out.

    Raises:
        ValueError: no mapping.
    """
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{name} holds a {type(content).__name__}, expected named tensors")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def load_weights(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    source: str | Path,
    *,
    computed: tuple[str, ...] = (),
    unknown: Iterable[str] = (),
    hint: str = "check the sizes in the encoder's 'model' settings and the file",
) -> None:
    """Load every tensor, or say exactly what does not fit.

    Args:
        weights: tensors by the module's names.
        computed: endings of keys that may be absent because the module computes them itself.
        unknown: further keys of the file that nothing is known about.
        hint: what to look at where something does not fit.

    Raises:
        ValueError: names every missing, unexpected and misshapen key.
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
    # Complete by the check above; the keys in `computed` keep the module's own values.
    module.load_state_dict({**own, **weights})
