"""Opens a model by one name: a type, a run, a saved folder, or an id of the Hugging Face hub.

A name is looked up before torch is imported, so that a misspelt one fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pal_plugin.config.merging import flat
from pal_plugin.config.recipes import recipe_names, train_command
from pal_plugin.config.trained import BEST, LAST, described, recipe_of, resolve_checkpoint
from pal_plugin.config.zoo import MODEL_TYPES, type_section
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import is_hub_id
from pal_plugin.utils.locations import WEIGHTS, resolve
from pal_plugin.utils.spelling import did_you_mean

if TYPE_CHECKING:
    import torch

    from pal_plugin.models.audio_llm import AudioLLM

EXPECTED = "a type, a run folder, latest:RECIPE, a folder written by save_pretrained, or owner/name"
_CONFIG = "config.json"


@dataclass(frozen=True)
class Found:
    """A model that can be opened.

    Attributes:
        name: short, for lists and tables: as it was given, or the type that was chosen.
        kind: "type", "run" (a checkpoint of a training), "folder" or "hub".
        location: what `AudioLLM.from_run` takes (a run), or `from_pretrained`.
        description: one line: what is loaded, and why if nobody named it.
    """

    name: str
    kind: str
    location: str
    description: str

    def open(self, device: torch.device | str | None = None) -> AudioLLM:
        """Loads the model, in eval mode; for `device` see `open_model`."""
        import torch

        from pal_plugin.models.audio_llm import AudioLLM

        load = AudioLLM.from_run if self.kind == "run" else AudioLLM.from_pretrained
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return load(self.location).to(device).eval()


def open_model(
    name: str | Path | None = None,
    *,
    output_dir: str | Path = "output",
    device: torch.device | str | None = None,
) -> AudioLLM:
    """Loads a model by name, in eval mode.

    Args:
        name: as for `find_model`.
        output_dir: where `latest:RECIPE` looks.
        device: None: the GPU if there is one, else the CPU.

    Raises:
        ConfigError: as `find_model`.
        CheckpointError: if the files do not fit together.
        HubError: if a hub id cannot be downloaded.
    """
    return find_model(name, output_dir=output_dir).open(device)


def find_model(name: str | Path | None = None, *, output_dir: str | Path = "output") -> Found:
    """What `open_model` would load; loads nothing.

    Args:
        name: a type ("lal", "small"), a run folder or its `.safetensors` file, `latest:RECIPE`, a
            folder written by `save_pretrained`, or `owner/name` of the hub. A type comes before a
            folder of the same name (`./lal`). None: `small` if its weights are here, else `lal`.
        output_dir: where `latest:RECIPE` looks.

    Raises:
        ConfigError: nothing of this name, or weights of the type that are not here yet.
    """
    if name is None:
        return _best()
    given = str(name)
    if given in MODEL_TYPES:
        return _type(given)
    if given.startswith("latest:"):
        return _run(given, resolve_checkpoint(given, output_dir))
    path = Path(given).expanduser()
    if given and path.is_dir():
        return _folder(given, path)
    if given and path.is_file():
        return _run(given, path)
    if is_hub_id(given) and not path.parent.is_dir():
        return Found(given, "hub", given, f"{given} of the Hugging Face hub")
    raise ConfigError(f"no model {given!r}; expected {EXPECTED}. {_hint(given, path, output_dir)}")


def _best() -> Found:
    missing = _missing("small")
    if not missing:
        return Found(
            "small", "type", "small", "small (the largest shipped model whose weights are here)"
        )
    about = f"lal (pocket-sized; for a real LLM, run `pal weights get small`: no {missing[0]})"
    return Found("lal", "type", "lal", about)


def _type(name: str) -> Found:
    try:
        section = type_section(name)
    except ValueError as error:  # `full`, whose values a recipe gives
        raise ConfigError(f"the type {name!r} cannot be opened: {error}") from error
    if missing := _missing(name):
        raise ConfigError(
            f"the type {name!r} needs {', '.join(missing)}, not in the cache; get them once by: "
            "pal weights get small"
        )
    return Found(name, "type", name, f"the type {name}{_untrained(name, section)}")


def _untrained(name: str, section: dict) -> str:
    if section.get("checkpoint"):
        return ""
    recipe = name.replace("_", "/", 1)
    how = f"; train them: {train_command(name)}" if recipe in recipe_names() else ""
    return f" (connectors untrained: no weights of this type are shipped{how})"


def _missing(name: str) -> list[str]:
    """The `weights://` of a type that are not in the cache."""
    asked = {v for v in flat(type_section(name)).values() if str(v).startswith(WEIGHTS)}
    return sorted(location for location in asked if not Path(_resolved(location)).exists())


def _resolved(location: str) -> str:
    try:
        return resolve(location)
    except FileNotFoundError:
        return location


def _folder(name: str, path: Path) -> Found:
    for file in (BEST, LAST):
        if (path / file).is_file():
            return _run(name, path / file)
    if (path / _CONFIG).is_file():
        return Found(name, "folder", str(path.absolute()), f"the folder {name}")
    inner = sorted(run.parent.name for run in path.glob(f"*/{BEST}"))
    runs = f" It contains the runs {', '.join(inner[-5:])}: give one of these." if inner else ""
    raise ConfigError(
        f"{path} is neither a trained run ({BEST}) nor a saved model ({_CONFIG}).{runs}"
    )


def _run(name: str, file: Path) -> Found:
    if file.suffix != ".safetensors" or not file.with_suffix(".json").is_file():
        raise ConfigError(
            f"{file} is no trained model; expected a .safetensors file with its .json beside it, "
            f"or {EXPECTED}"
        )
    about = described(file.parent) if file.name == BEST else str(file)
    return Found(name, "run", str(file), f"the run {about}")


def _hint(name: str, path: Path, output_dir: str | Path) -> str:
    root = Path(output_dir).expanduser()
    runs = [config.parent for config in root.glob("*/config.yaml")]
    runs = [run for run in runs if (run / BEST).is_file()]
    recipes = {f"latest:{recipe_of(run / 'config.yaml')}" for run in runs}
    if f"latest:{name}" in recipes:
        return f"Did you mean 'latest:{name}'?"
    beside = {str(path.parent / other.name) for other in runs if other.parent == path.parent}
    types = [t for t in MODEL_TYPES if t != "full"]
    return did_you_mean(name, [*types, *recipes, *(beside or map(str, runs))])
