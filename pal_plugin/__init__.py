"""PAL for LAVIS: `import pal_plugin` registers models, processors, datasets, tasks and runners.

Where salesforce-lavis is not installed the core (types, audio, encoders, connectors, integration,
llm, soundworld) still imports; where it is installed and does not import, its error is shown.
Importing LAVIS takes many seconds: processes that need the core only (those that make data) set
PAL_PLUGIN_CORE_ONLY=1 and leave it out. So does the command `pal`, whose subcommands register what
they need themselves.
"""

import importlib.util
import os
import sys

from pal_plugin.version import __version__

__all__ = ["__version__"]


def _core_only() -> bool:
    if os.environ.get("PAL_PLUGIN_CORE_ONLY"):
        return True
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return program in ("pal", "pal.exe") or sys.orig_argv[1:3] == ["-m", "pal_plugin"]


if not _core_only() and importlib.util.find_spec("lavis") is not None:
    from pal_plugin.hosts.lavis.registration import register_all

    register_all()
