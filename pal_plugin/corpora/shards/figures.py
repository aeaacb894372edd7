"""matplotlib, which is needed for pictures only."""

from __future__ import annotations

import logging
from typing import Any

from pal_plugin.utils.errors import ConfigError


def pyplot() -> Any:
    """`matplotlib.pyplot`, drawing into files.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(
            "pictures need matplotlib: pip install 'matplotlib>=3.8' (or pal-plugin[demo])"
        ) from error
    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    import matplotlib.pyplot as plt

    return plt
