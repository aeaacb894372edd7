"""Run files by name: `lal_stage1` for the package's own, or a path; several make one recipe.

The run files of `projects/pal` are in `pal_plugin/recipes` in a wheel, and next to the package in a
clone. A full-size recipe is one part of each kind, in any order: a stage, an LLM and a variant.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.config.run_files import load_yaml
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
#: Kind of a part -> section and key that it sets.
PART_KEYS = {"stage": ("run", "name"), "LLM": ("data", "llm"), "variant": ("data", "variant")}


def recipes_dir() -> Path:
    """The folder of the package's run files."""
    inside = _PACKAGE / "recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "projects" / "pal"


def recipe_names() -> list[str]:
    """Names of the package's run files: `lal_stage1`, `mini/lal`, `common/stage2`."""
    root = recipes_dir()
    return sorted(
        path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")
    )


def find_recipe(name: str) -> Path:
    """The run file of a path or a name; parts (`stage2`, `qwen2.5_1.5b`) are in `common`.

    Raises:
        ConfigError: it does not exist; suggests the nearest names.
    """
    path = beside_recipes(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if path.is_file():
            return path
        beside = sorted(p.name for p in path.parent.glob("*.yaml"))
        hint = did_you_mean(path.name, beside) if beside else f"No folder {path.parent}."
        raise ConfigError(f"no configuration file {path}. {hint}")
    for place in (recipes_dir(), recipes_dir() / "common"):
        # Not with_suffix: names contain dots, as qwen2.5_1.5b.
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = [known.removeprefix("common/") for known in recipe_names()]
    raise ConfigError(
        f"no recipe {name!r}; expected a run file (YAML) or a name. {did_you_mean(name, known)}"
    )


def beside_recipes(name: str | Path) -> Path:
    """A file named by its path in a clone, such as `projects/pal/mini/splits.csv`.

    Elsewhere it is searched next to the package's run files.
    """
    path = Path(name).expanduser()
    inner = path.as_posix().removeprefix("projects/pal/")
    if not path.is_file() and inner != path.as_posix() and (recipes_dir() / inner).is_file():
        return recipes_dir() / inner
    return path


def find_recipes(names: Sequence[str]) -> list[Path]:
    """The run files of several names, to be merged in order.

    Raises:
        ConfigError: one does not exist, or two parts are of the same kind.
    """
    paths = [find_recipe(name) for name in names]
    kinds = [_kind_of_part(path) for path in paths]
    for kind in PART_KEYS:
        same = [path.stem for path, its in zip(paths, kinds, strict=True) if its == kind]
        if len(same) > 1:
            raise ConfigError(f"expected one {kind} per recipe, got {' and '.join(same)}")
    return paths


def parts(kind: str) -> list[str]:
    """Names of the package's parts of a kind in `PART_KEYS`."""
    folder = recipes_dir() / "common"
    return sorted(path.stem for path in folder.glob("*.yaml") if _kind_of_part(path) == kind)


def train_command(recipe: str) -> str:
    """The command that trains the recipe of a run's name: `pal train lal_stage1`.

    An unknown recipe is assumed to be a file of that name.
    """
    known = recipe_names()
    for at in (i for i, letter in enumerate(recipe) if letter == "_"):
        inner = f"{recipe[:at]}/{recipe[at + 1 :]}"  # mini_lal: mini/lal
        if inner in known:
            return f"pal train {inner}"
    for stage, llm, variant in itertools.product(*map(parts, PART_KEYS)):
        if recipe == f"{llm}_{variant}_{stage}":
            return f"pal train {stage} {llm} {variant}"
    # A run of several files without `run.name` is named FIRST+SECOND.
    named = [n if {n, f"common/{n}"} & set(known) else f"{n}.yaml" for n in recipe.split("+")]
    return f"pal train {' '.join(named)}"


def _kind_of_part(path: Path) -> str | None:
    """The kind of a part; None for other files, and for parts that combine with any."""
    if path.resolve().parent != (recipes_dir() / "common").resolve():
        return None
    file = load_yaml(path)
    for kind, (section, key) in PART_KEYS.items():
        if (file.get(section) or {}).get(key, "???") != "???":
            return kind
    return None
