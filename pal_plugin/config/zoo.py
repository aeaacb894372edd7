"""The model types that the package ships, each `configs/models/pal_NAME.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.config.run_files import read_run_file

_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "models"
#: By name; `full` is what the full-size recipes of projects/pal start from.
MODEL_TYPES = {
    name: _CONFIGS / f"pal_{name}.yaml" for name in ("lal", "plits", "pal", "flamingo", "full")
}


def type_config(name: str) -> dict[str, Any]:
    """All sections of a type on top of its `base`, interpolations kept.

    Raises:
        ValueError: there is no such type.
    """
    if name not in MODEL_TYPES:
        raise ValueError(f"there is no model type {name!r}; known: {', '.join(MODEL_TYPES)}")
    return read_run_file(MODEL_TYPES[name])


def type_section(name: str, **overrides: Any) -> dict[str, Any]:
    """The `model:` section of a type, resolved: what `AudioLLM.from_config` takes.

    Raises:
        ValueError: there is no such type, or overrides, which it does not take.
    """
    if overrides:
        raise ValueError(
            f"{', '.join(overrides)}: a type of the zoo is built as its YAML file says; change "
            "a copy of the file's model section and give it to from_config"
        )
    return OmegaConf.to_container(OmegaConf.create(type_config(name)).model, resolve=True)
