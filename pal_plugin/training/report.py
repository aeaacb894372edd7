"""What a run shows: a table of its figures, and one of its training data."""

from __future__ import annotations

from typing import Any

from pal_plugin.datasets.collate import clips_of
from pal_plugin.utils.tables import text_table

# The figures of the table in order of preference, with whether a larger one is better.
HEADLINE = ("accuracy", "map", "wer", "loss")


def mix_table(datasets: dict[str, Any], weights: dict[str, float]) -> str:
    """Training datasets with their clips and shares of the batches, as text."""
    rows = [("dataset", "clips", "share of batches")]
    for name, dataset in datasets.items():
        clips = clips_of(dataset)
        share = weights[name] / sum(weights.values())
        rows.append((name, "unknown" if clips is None else f"{clips:,}", f"{share:.1%}"))
    return text_table(rows, "lr", rule=False)


def table(metrics: dict[str, dict[str, dict]]) -> str:
    """`{split: {entry: figures}}` as aligned text: each figure beside masked audio and chance."""
    rows = [("split", "task", "figure", "value", "masked audio", "chance", "n")]
    for split, entries in metrics.items():
        for entry, figures in entries.items():
            name = next((f for f in HEADLINE if f in figures), None)
            if name is None:
                continue
            numbers = (figures.get(key) for key in (name, f"{name}_masked_audio", "chance"))
            part = f" ({figures['part']:.1%} of the split)" if "part" in figures else ""
            rows.append(
                (split, entry, name, *map(_number, numbers), f"{figures.get('n', '')}{part}")
            )
    return text_table(rows, "lllr")


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
