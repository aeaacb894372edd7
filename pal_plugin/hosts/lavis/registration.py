"""Registers the core's classes in LAVIS, and LAVIS's classes in the core's registries.

LAVIS requires its own base classes, so each class of the core gets a subclass with them, of the
same name and behavior. LAVIS's two zoos are snapshots taken earlier; their entries are added here.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.builders.base_dataset_builder import BaseDatasetBuilder
from lavis.processors.base_processor import BaseProcessor
from lavis.tasks.base_task import BaseTask

from pal_plugin.config.registry import (
    DATASETS,
    MODELS,
    PROCESSORS,
    RUNNERS,
    SCHEDULES,
    TASKS,
    defaults_of,
)
from pal_plugin.hosts.lavis import compat
from pal_plugin.utils.spelling import did_you_mean

# `import lavis` alone registers neither runners nor learning rate schedulers.
_LAVIS_MODULES = ("lavis.models", "lavis.runners", "lavis.common.optims")
_OUR_MODULES = ("pal_plugin.hosts.lavis.models", "pal_plugin.hosts.lavis.runner")


def register_all() -> None:
    """Register everything that a run file may name. Idempotent."""
    if "pal_instruct" in registry.list_tasks():
        return
    with compat.quiet_lavis_import():
        for name in (*_LAVIS_MODULES, *_OUR_MODULES):
            importlib.import_module(name)
    for name in DATASETS.own():
        registry.register_builder(name)(_builder(name, DATASETS.get(name)))
    for name in PROCESSORS.own():
        core = PROCESSORS.get(name)
        # Not BaseProcessor's __init__: its lambda cannot be pickled for a DataLoader worker.
        made = _with_base(name, core, BaseProcessor, {"__init__": core.__init__})
        registry.register_processor(name)(made)
    for name in TASKS.own():
        facts = {"inst_id_key": "instance_id", "build_model": BaseTask.build_model}
        registry.register_task(name)(_with_base(name, TASKS.get(name), BaseTask, facts))
    for name in SCHEDULES.own():
        registry.register_lr_scheduler(name)(SCHEDULES.get(name))
    for ours, find, names in (
        (MODELS, registry.get_model_class, registry.list_models),
        (DATASETS, registry.get_builder_class, registry.list_datasets),
        (PROCESSORS, registry.get_processor_class, registry.list_processors),
        (TASKS, registry.get_task_class, registry.list_tasks),
        (RUNNERS, registry.get_runner_class, registry.list_runners),
        (SCHEDULES, registry.get_lr_scheduler_class, registry.list_lr_schedulers),
    ):
        ours.add_host(find, names)
    _refresh_zoos()
    for name in ("load_model", "load_model_and_preprocess"):
        _name_unknown_models(importlib.import_module("lavis.models"), name)


def _name_unknown_models(module: Any, function: str) -> None:
    """Raise for an unregistered architecture, for which LAVIS calls `None.from_pretrained`."""
    load = getattr(module, function)

    @functools.wraps(load)
    def checked(name: str, *args: Any, **kwargs: Any) -> Any:
        known = registry.list_models()
        if name not in known:
            raise ValueError(f"LAVIS has no model {name!r}. {did_you_mean(str(name), known)}")
        return load(name, *args, **kwargs)

    setattr(module, function, checked)


def _builder(name: str, core: type) -> type:
    def initialise(self: Any, cfg: Any = None) -> None:
        BaseDatasetBuilder.__init__(self, cfg)  # reads the defaults where there is no cfg
        core.__init__(self, self.config)

    places = {kind: str(path) for kind, path in defaults_of(DATASETS, name).items()}
    members = {"__init__": initialise, "DATASET_CONFIG_DICT": places}
    return _with_base(name, core, BaseDatasetBuilder, members)


def _with_base(name: str, core: type, base: type, members: dict[str, Any]) -> type:
    """`core` with one of LAVIS's base classes, as an attribute of this module for pickling.

    A user's class may have the name of one of ours, or be registered twice.
    """
    facts = {"__module__": __name__, "__doc__": core.__doc__, **members}
    free = core.__name__ if core.__name__ not in globals() else f"{core.__name__}_{name}"
    made = globals()[free] = type(free, (core, base), facts)
    return made


def _refresh_zoos() -> None:
    from lavis.datasets.builders import dataset_zoo
    from lavis.models import model_zoo

    for zoo, kind, types in (
        (model_zoo.model_zoo, "model_name_mapping", "PRETRAINED_MODEL_CONFIG_DICT"),
        (dataset_zoo.dataset_zoo, "builder_name_mapping", "DATASET_CONFIG_DICT"),
    ):
        for name, cls in registry.mapping[kind].items():
            if cls.__module__.startswith("pal_plugin."):
                zoo[name] = list(getattr(cls, types))
