"""The package's model types, each in `configs/models/pal_NAME.yaml`."""

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
#: Types with published weights, which `pal weights get small` downloads.
_SMALL = ("small", "small_plits", "small_pal", "small_both", "small_flamingo")
#: By name; `full` is the base of the full-size recipes of projects/pal.
MODEL_TYPES = {name: _CONFIGS / f"pal_{name}.yaml" for name in (*_POCKET, *_SMALL, "full")}


def type_config(name: str, known: Mapping[str, str | Path] = MODEL_TYPES) -> dict[str, Any]:
    """All sections of a type, merged on top of its `base`, with interpolations unresolved.

    Args:
        name: of the type.
        known: YAML files by type; your own class may have others.

    Raises:
        ValueError: unknown type.
    """
    if name not in known:
        hint = did_you_mean(str(name), list(known))
        raise ValueError(f"unknown model type {name!r}. {hint}")
    return read_run_file(Path(known[name]))


def type_section(
    name: str, known: Mapping[str, str | Path] = MODEL_TYPES, /, **overrides: Any
) -> dict[str, Any]:
    """The resolved `model:` section of a type, as `AudioLLM.from_config` takes it.

    Raises:
        ValueError: an unknown type, a type with open values, or overrides, which are not supported.
    """
    if overrides:
        raise ValueError(
            f"{', '.join(overrides)}: a model type does not accept overrides; change a copy of its "
            "YAML file's model section and pass that to from_config"
        )
    config = OmegaConf.create(type_config(name, known))
    section = OmegaConf.to_container(config.model, resolve=True)
    missing = [f"model.{path}" for path, value in flat(section).items() if value == "???"]
    if missing:
        raise ValueError(
            f"the type {name!r} needs values for {', '.join(missing)}: use it in a run file, or "
            "pass a copy of its section with these values to from_config"
        )
    return section
