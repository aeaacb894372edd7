"""Connectors: map encoder tokens of a window to tokens in the LLM's embedding width.

A new connector is one file and one entry in `CONNECTORS`. Its constructor takes `widths` and
`grids` of the encoders it reads and `out_width`, then its own arguments; its forward maps
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
    """Builds a connector by name. Raises ValueError for unknown names or arguments."""
    if type not in CONNECTORS:
        raise ValueError(f"unknown connector {type!r}; known: {', '.join(sorted(CONNECTORS))}")
    try:
        return CONNECTORS[type](widths, grids, out_width, **args)
    except SIZES_DO_NOT_FIT as error:
        raise ValueError(f"cannot build connector {type!r} with {args}: {error}") from error


__all__ = ["CONNECTORS", "LFST", "MLP", "QFormer", "build_connector"]
