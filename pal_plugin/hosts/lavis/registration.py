"""Registers everything of this package in LAVIS's registry.

LAVIS's modules register themselves when they are imported, and so do ours; the two zoos are
snapshots which LAVIS took earlier, so their entries are written here.
"""

from __future__ import annotations

import importlib

from pal_plugin.hosts.lavis import compat

# `import lavis` alone registers neither runners nor learning rate schedulers.
_LAVIS_MODULES = ("lavis", "lavis.models", "lavis.runners", "lavis.common.optims")
_OUR_MODULES = (
    "pal_plugin.processors.audio",
    "pal_plugin.processors.augmented",
    "pal_plugin.processors.text",
    "pal_plugin.hosts.lavis.models",
    "pal_plugin.datasets.builders",
    "pal_plugin.datasets.corpus_builders",
    "pal_plugin.datasets.mini",
    "pal_plugin.tasks.pal_instruct",
    "pal_plugin.training.schedule",
    "pal_plugin.training.runner_pal",
)


def register_all() -> None:
    """Import LAVIS behind the shims and register models, processors, datasets, tasks and runners.

    Calling it again changes nothing. An import that fails raises its own error.
    """
    compat.install()
    with compat.quiet_lavis_import():
        for name in _LAVIS_MODULES:
            importlib.import_module(name)
    for name in _OUR_MODULES:
        importlib.import_module(name)
    _refresh_zoos()


def _refresh_zoos() -> None:
    from lavis.common.registry import registry
    from lavis.datasets.builders import dataset_zoo
    from lavis.models import model_zoo

    for zoo, kind, types in (
        (model_zoo.model_zoo, "model_name_mapping", "PRETRAINED_MODEL_CONFIG_DICT"),
        (dataset_zoo.dataset_zoo, "builder_name_mapping", "DATASET_CONFIG_DICT"),
    ):
        for name, cls in registry.mapping[kind].items():
            if cls.__module__.startswith("pal_plugin."):
                zoo[name] = list(getattr(cls, types))
