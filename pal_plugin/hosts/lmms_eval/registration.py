"""What lmms-eval finds under its entry point group `lmms_eval.models` (see setup.py)."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` of `pal`. Imports nothing heavy: lmms-eval calls this at every start and
    only logs what fails here."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("pal", simple_class_path="pal_plugin.hosts.lmms_eval.model.Pal")
