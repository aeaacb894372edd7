"""Connectors: encoder tokens of one window -> tokens in the width of the LLM.

A new connector is one file and one entry in `CONNECTORS`. Its constructor takes `widths` and
`grids` of the encoders it reads and `out_width`, then its own plain arguments; its forward maps
`{encoder: AudioTokens}` to `AudioTokens`.
"""

from __future__ import annotations

from torch import nn

from pal_plugin.connectors.lfst import LFST
from pal_plugin.connectors.mlp import MLP
from pal_plugin.connectors.qformer import QFormer
from pal_plugin.utils.errors import SIZES_DO_NOT_FIT

CONNECTORS: dict[str, type[nn.Module]] = {"lfst": LFST, "mlp": MLP, "qformer": QFormer}


def build_connector(type: str, widths: dict, grids: dict, out_width: int, args: dict) -> nn.Module:
    """Build a connector by name. Raises ValueError for unknown names or arguments."""
    if type not in CONNECTORS:
        raise ValueError(f"unknown connector {type!r}; known: {', '.join(sorted(CONNECTORS))}")
    try:
        return CONNECTORS[type](widths, grids, out_width, **args)
    except SIZES_DO_NOT_FIT as error:
        raise ValueError(f"connector {type!r} cannot be built of {args}: {error}") from error


__all__ = ["CONNECTORS", "LFST", "MLP", "QFormer", "build_connector"]
