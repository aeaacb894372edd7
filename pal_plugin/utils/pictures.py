"""Figures by matplotlib, an optional package."""

from __future__ import annotations

import logging
from typing import Any

from pal_plugin.utils.errors import ConfigError


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty matplotlib figure, without a window; sizes in inches.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ConfigError(
            "pictures need matplotlib: pip install 'matplotlib>=3.8' (or pal-plugin[demo])"
        ) from error
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    return matplotlib.figure.Figure(figsize=(width_in, height_in), layout="constrained")
