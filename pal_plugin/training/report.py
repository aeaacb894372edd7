"""Tables that a run logs: its metrics, and its training data."""

from __future__ import annotations

from typing import Any

from pal_plugin.datasets.collate import clips_of
from pal_plugin.utils.tables import text_table

# The metric shown for an entry, in order of preference.
HEADLINE = ("accuracy", "map", "wer", "loss")
# Where labels are both ranked by likelihood and generated, both metrics are shown.
_BOTH = {
    "accuracy_said": (("accuracy", "accuracy, ranked"), ("accuracy_said", "accuracy, said")),
    "accuracy_ranked": (("accuracy", "accuracy, said"), ("accuracy_ranked", "accuracy, ranked")),
    "micro_f1_said": (("map", "mAP, ranked"), ("micro_f1_said", "micro F1, said")),
}
# Metrics that an entry's chance level does not apply to.
_WITHOUT_CHANCE = ("micro_f1_said",)


def mix_table(datasets: dict[str, Any], weights: dict[str, float]) -> str:
    """Training datasets with their clip counts and shares of the batches, as a text table."""
    rows = [("dataset", "clips", "share of batches")]
    for name, dataset in datasets.items():
        clips = clips_of(dataset)
        share = weights[name] / sum(weights.values())
        rows.append((name, "unknown" if clips is None else f"{clips:,}", f"{share:.1%}"))
    return text_table(rows, "lr", rule=False)


def table(metrics: dict[str, dict[str, dict]]) -> str:
    """`{split: {entry: metrics}}` as a text table: each metric next to masked audio and chance."""
    rows = [("split", "task", "figure", "value", "masked audio", "chance", "n")]
    for split, entries in metrics.items():
        for entry, figures in entries.items():
            part = f" ({figures['part']:.1%} of the split)" if "part" in figures else ""
            for name, label in _shown(figures):
                chance = None if name in _WITHOUT_CHANCE else "chance"
                numbers = (figures.get(key) for key in (name, f"{name}_masked_audio", chance))
                count = f"{figures.get('n', '')}{part}"
                rows.append((split, entry, label, *map(_number, numbers), count))
    return text_table(rows, "lllr")


def _shown(figures: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """`(name, label)` of the metrics shown for an entry."""
    for second, both in _BOTH.items():
        if second in figures:
            return both
    return tuple((name, name) for name in HEADLINE if name in figures)[:1]


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
