"""Audio for LLMs: PLITS, LAL and PAL (arXiv 2506.10423), with LAVIS as a host.

If `lavis` is imported, before or after this package, models, processors, datasets, tasks and
runners are registered in it (`pal_plugin.hosts.lavis`); importing this package imports no other.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from pal_plugin.version import __version__

__all__ = ["__version__"]


class _BesideLavis(MetaPathFinder):
    """Finds `lavis` as the other finders do, and wraps its loader."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "lavis":
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        spec = next((s for f in others if (s := f.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """Installs the shims before `lavis` is imported, and registers this package after it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        from pal_plugin.hosts.lavis import compat

        compat.install()
        with compat.quiet_lavis_import():
            self._loader.exec_module(module)
        _register()


def _register() -> None:
    from pal_plugin.hosts.lavis.registration import register_all

    register_all()


if sys.modules.get("lavis") is not None:
    _register()
else:
    sys.meta_path.insert(0, _BesideLavis())
