"""What a run shows: a table of its figures, and one of its training data."""

from __future__ import annotations

from typing import Any

from pal_plugin.datasets.collate import clips_of

# The figures of the table in order of preference, with whether a larger one is better.
HEADLINE = ("accuracy", "map", "wer", "loss")


def mix_table(datasets: dict[str, Any], weights: dict[str, float]) -> str:
    """Training datasets with their clips and shares of the batches, as text."""
    rows = [("dataset", "clips", "share of batches")]
    for name, dataset in datasets.items():
        clips = clips_of(dataset)
        share = weights[name] / sum(weights.values())
        rows.append((name, "unknown" if clips is None else f"{clips:,}", f"{share:.1%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {clips:>{widths[1]}}  {share:>{widths[2]}}"
        for name, clips, share in rows
    )


def table(metrics: dict[str, dict[str, dict]]) -> str:
    """`{split: {entry: figures}}` as aligned text: each figure beside masked audio and chance."""
    rows = [("split", "task", "figure", "value", "masked audio", "chance", "n")]
    for split, entries in metrics.items():
        for entry, figures in entries.items():
            name = next((f for f in HEADLINE if f in figures), None)
            if name is None:
                continue
            rows.append(
                (
                    split,
                    entry,
                    name,
                    _number(figures.get(name)),
                    _number(figures.get(f"{name}_masked_audio")),
                    _number(figures.get("chance")),
                    str(figures.get("n", "")),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
