"""The model types that the package ships, each `configs/models/pal_NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.config.merging import flat
from pal_plugin.config.run_files import read_run_file
from pal_plugin.utils.spelling import did_you_mean

_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "models"
_POCKET = ("lal", "plits", "pal", "flamingo")
#: Of published weights, which `pal weights get small` fetches.
_SMALL = ("small", "small_plits", "small_pal", "small_both", "small_flamingo")
#: By name; `full` is what the full-size recipes of projects/pal start from.
MODEL_TYPES = {name: _CONFIGS / f"pal_{name}.yaml" for name in (*_POCKET, *_SMALL, "full")}


def type_config(name: str, known: Mapping[str, str | Path] = MODEL_TYPES) -> dict[str, Any]:
    """All sections of a type on top of its `base`, interpolations kept.

    Args:
        known: YAML files by type; a class of one's own has others.

    Raises:
        ValueError: there is no such type.
    """
    if name not in known:
        hint = did_you_mean(str(name), list(known))
        raise ValueError(f"there is no model type {name!r}. {hint}")
    return read_run_file(Path(known[name]))


def type_section(
    name: str, known: Mapping[str, str | Path] = MODEL_TYPES, /, **overrides: Any
) -> dict[str, Any]:
    """The `model:` section of a type, resolved: what `AudioLLM.from_config` takes.

    Raises:
        ValueError: there is no such type, it leaves something to be given, or overrides, which it
            does not take.
    """
    if overrides:
        raise ValueError(
            f"{', '.join(overrides)}: a type of the zoo is built as its YAML file says; change "
            "a copy of the file's model section and give it to from_config"
        )
    config = OmegaConf.create(type_config(name, known))
    section = OmegaConf.to_container(config.model, resolve=True)
    missing = [f"model.{path}" for path, value in flat(section).items() if value == "???"]
    if missing:
        raise ValueError(
            f"the type {name!r} leaves {', '.join(missing)} to be given: use it in a run file, or "
            "give a copy of its section with that to from_config"
        )
    return section
