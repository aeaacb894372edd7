"""Audio for LLMs: PLITS, LAL and PAL (arXiv 2506.10423), with LAVIS as a host.

Where `lavis` is imported, before or after this package, models, processors, datasets, tasks and
runners are registered there (`pal_plugin.hosts.lavis`); importing this package imports nothing.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from pal_plugin.version import __version__

__all__ = ["__version__"]


class _BesideLavis(MetaPathFinder, Loader):
    """Runs the shims before `lavis` is imported, and the registration after it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "lavis":
            return None
        sys.meta_path.remove(self)  # it asks the other finders, and is needed once
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return spec
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        try:
            from pal_plugin.hosts.lavis import compat

            compat.install()
            with compat.quiet_lavis_import():
                self._loader.exec_module(module)
            _register()
        except BaseException:
            sys.meta_path.insert(0, self)
            raise


def _register() -> None:
    from pal_plugin.hosts.lavis.registration import register_all

    register_all()


if sys.modules.get("lavis") is not None:
    _register()
else:
    sys.meta_path.insert(0, _BesideLavis())
