"""Registries of names in run files: models, datasets, processors, tasks, runners, schedules.

An entry is the text "module:Class", so that a name is checked before its module, and torch, is
imported, and this module imports no higher layer. A host adds further names: those of LAVIS's
registry (`hosts/lavis`), in `train.py` and wherever `lavis` is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pal_plugin.config.zoo import MODEL_TYPES
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

CONFIGS = Path(__file__).parent.parent / "configs"


class Registry:
    """Classes of one kind by name.

    `Registry.host` names a module, such as `pal_plugin.hosts.lavis`, that is imported when a name
    is unknown: it may register its names by `add_host`.

    Args:
        kind: for messages.
        entries: by name, "module:Class" or a class.
        more: "module:function" that returns further entries.
    """

    host: str | None = None

    def __init__(
        self, kind: str, entries: Mapping[str, str | type], more: str | None = None
    ) -> None:
        self.kind, self.entries, self._more = kind, dict(entries), more
        self._hosts: list[tuple[Callable[[str], Any], Callable[[], Iterable[str]]]] = []

    def add(self, name: str, entry: str | type) -> None:
        """Register a class, for example from your own script."""
        self.entries[name] = entry

    def add_host(self, find: Callable[[str], Any], names: Callable[[], Iterable[str]]) -> None:
        """Register a host: `find(name)` returns a class or None, `names()` all names."""
        self._hosts.append((find, names))

    def own(self) -> dict[str, str | type]:
        """All entries except the hosts'."""
        if self._more:
            self.entries = _imported(self._more)() | self.entries
            self._more = None
        return self.entries

    def names(self) -> list[str]:
        """All names, including the hosts'."""
        return list(dict.fromkeys([*self.own(), *(n for _, names in self._hosts for n in names())]))

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):  # YAML may hold anything
            return False
        return name in self.own() or self._hosted(name) is not None

    def get(self, name: str) -> Any:
        """The class of this name; imports its module.

        Raises:
            ConfigError: the name is unknown; suggests the nearest ones.
        """
        entry = self.own().get(name)
        if entry is None:
            entry = self._hosted(name)
        if entry is None:
            raise ConfigError(self.unknown(name))
        return _imported(entry) if isinstance(entry, str) else entry

    def _hosted(self, name: str) -> Any:
        if Registry.host is not None:
            module, Registry.host = Registry.host, None
            if importlib.util.find_spec(module.rpartition(".")[2]) is not None:
                importlib.import_module(module)
        return next((c for find, _ in self._hosts if (c := find(name)) is not None), None)

    def unknown(self, name: object) -> str:
        """The error message for an unknown name."""
        hint = did_you_mean(str(name), self.names())
        return f"no {self.kind} named {name!r} is registered. {hint}"


def _imported(entry: str) -> Any:
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)


MODELS = Registry("model", {"pal": "pal_plugin.models.audio_llm:AudioLLM"})
DATASETS = Registry(
    "dataset",
    {
        "pal_soundworld": "pal_plugin.datasets.builders:SoundWorldBuilder",
        "pal_soundworld_talks": "pal_plugin.datasets.builders:SoundWorldTalksBuilder",
        "pal_spoken": "pal_plugin.datasets.builders:SpokenBuilder",
        "pal_clips": "pal_plugin.datasets.builders:ClipsBuilder",
        "pal_shards": "pal_plugin.datasets.corpus_builders:ShardsBuilder",
        "pal_corpus": "pal_plugin.datasets.corpus_builders:CorpusBuilder",
        "pal_mini": "pal_plugin.datasets.mini:MiniBuilder",
        "pal_notes": "pal_plugin.datasets.notes:NotesBuilder",
    },
    more="pal_plugin.corpora.readers:builders",
)
PROCESSORS = Registry(
    "processor",
    {
        "pal_audio": "pal_plugin.processors.audio:AudioProcessor",
        "pal_audio_augmented": "pal_plugin.processors.augmented:AugmentedAudioProcessor",
        "pal_text": "pal_plugin.processors.text:TextProcessor",
    },
)
TASKS = Registry("task", {"pal_instruct": "pal_plugin.tasks.instruct:InstructTask"})
RUNNERS = Registry("runner", {"runner_pal": "pal_plugin.training.run:Run"})
SCHEDULES = Registry(
    "learning rate schedule",
    {
        "pal_warmup_cosine": "pal_plugin.training.schedule:WarmupCosine",
        "pal_warmup_linear": "pal_plugin.training.schedule:WarmupLinear",
        "pal_warmup_constant": "pal_plugin.training.schedule:WarmupConstant",
    },
)


def defaults_of(registry: Registry, name: str) -> dict[str, Path]:
    """YAML files with the defaults of a model or a dataset, by type.

    From the table of model types, `configs/datasets/NAME.yaml`, or the attribute of an external
    class.

    Raises:
        ConfigError: an external class without that attribute.
    """
    entry = registry.own().get(name)
    if isinstance(entry, str) and entry.startswith("pal_plugin."):
        if registry is MODELS:
            return MODEL_TYPES
        path = CONFIGS / "datasets" / f"{name}.yaml"
        return {"default": path if path.is_file() else path.with_name("pal_corpus.yaml")}
    cls = registry.get(name)
    key = "PRETRAINED_MODEL_CONFIG_DICT" if registry is MODELS else "DATASET_CONFIG_DICT"
    places = getattr(cls, key, None)
    if not places:
        raise ConfigError(
            f"{cls.__name__}, the {registry.kind} {name!r}, has no defaults; add the attribute "
            f'{key} = {{"default": FILE}}'
        )
    return {kind: _file(cls, kind, Path(place)) for kind, place in places.items()}


def _file(cls: Any, kind: str, place: Path) -> Path:
    """Absolute path of a defaults file; those of LAVIS's classes are relative to its package."""
    if place.is_absolute() or not hasattr(cls, "default_config_path"):
        return place
    return Path(cls.default_config_path(kind))
