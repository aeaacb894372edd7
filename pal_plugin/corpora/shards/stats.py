"""Statistics of shards: counts, durations, rates, labels; as a table and as a plot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pal_plugin.corpora.shards.reading import Shards, parse, read_shard
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.pictures import new_figure
from pal_plugin.utils.tables import text_table

_SHOWN = 30  # labels in the plot


@dataclass
class Statistics:
    """Counts over clips; `seconds` holds each clip's length, `answers` the word counts."""

    seconds: list[float] = field(default_factory=list)
    rates_hz: Counter = field(default_factory=Counter)
    channels: Counter = field(default_factory=Counter)
    tasks: Counter = field(default_factory=Counter)
    labels: Counter = field(default_factory=Counter)
    licences: Counter = field(default_factory=Counter)
    answers: list[int] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    conversations: int = 0


def statistics(shards: Shards) -> Statistics:
    """Collects statistics from the JSON of every clip; audio is not decoded.

    Raises:
        ConfigError: if no clip can be parsed.
    """
    stats = Statistics()
    for url in shards.urls:
        for raw in read_shard(url):
            try:
                _, facts = parse(raw)
            except ValueError as error:
                stats.unreadable.append(f"{raw['__key__']} in {url}: {error}")
                continue
            stats.conversations += "clips" in facts
            for clip in facts.get("clips", [facts]):
                if isinstance(clip.get("seconds"), int | float):
                    stats.seconds.append(clip["seconds"])
                stats.rates_hz[clip.get("rate_hz", "unknown")] += 1
                stats.channels[clip.get("channels", "unknown")] += 1
            stats.licences[facts.get("licence", "not stated")] += 1
            for item in facts["items"]:
                stats.tasks[item["task"]] += 1
                stats.answers.append(len(str(item["answer"]).split()))
                if item["task"] == "classification":
                    stats.labels.update(item.get("labels", [item["answer"]]))
    if not stats.tasks:
        raise ConfigError(f"no readable clips: {'; '.join(stats.unreadable[:3]) or 'empty'}")
    return stats


def table(stats: Statistics) -> str:
    """The statistics as a text table."""
    clips = sum(stats.rates_hz.values())
    rows = [("clips", clips), ("items", sum(stats.tasks.values()))]
    if stats.conversations:
        rows.insert(0, ("conversations", stats.conversations))
    if stats.seconds:
        seconds = np.array(stats.seconds)
        low, middle, high = np.percentile(seconds, [5, 50, 95])
        spread = f"median {middle:.2f}, 5 % below {low:.2f}, 5 % above {high:.2f}"
        rows.append(("hours", f"{seconds.sum() / 3600:.3f}"))
        rows.append(("seconds", f"{seconds.min():.2f} to {seconds.max():.2f}, {spread}"))
    words = f"{np.mean(stats.answers):.1f} words, longest {max(stats.answers)}"
    rows.append(("answers", words))
    for name, counts in (
        ("tasks", stats.tasks),
        ("rates in Hz", stats.rates_hz),
        ("channels", stats.channels),
        ("licences", stats.licences),
        ("labels", stats.labels),
    ):
        top = ", ".join(f"{key} {n}" for key, n in counts.most_common(10))
        if counts:
            more = f", and {len(counts) - 10} more" if len(counts) > 10 else ""
            rows.append((name, f"{top}{more}"))
    if stats.unreadable:
        rows.append(("unreadable", f"{len(stats.unreadable)}: {'; '.join(stats.unreadable[:3])}"))
    return text_table(rows, "ll", rule=False)


def plot(stats: Statistics, path: Path) -> None:
    """Plots durations, sampling rates and labels to a PNG.

    Raises:
        ConfigError: if matplotlib is not installed.
    """
    common = stats.labels.most_common(_SHOWN)
    figure = new_figure(15, max(4, 0.22 * len(common)))
    axes = figure.subplots(1, 3)
    axes[0].hist(stats.seconds, bins=40)
    axes[0].set(title="durations", xlabel="seconds", ylabel="clips")
    rates = sorted(stats.rates_hz.items(), key=lambda pair: str(pair[0]))
    axes[1].bar([str(rate) for rate, _ in rates], [count for _, count in rates])
    axes[1].set(title="sampling rates", xlabel="Hz", ylabel="clips")
    if common:
        names, counts = zip(*reversed(common), strict=True)
        title = f"labels ({len(common)} of {len(stats.labels)})"
    else:
        names, counts = zip(*reversed(stats.tasks.most_common()), strict=True)
        title = "tasks"
    axes[2].barh(names, counts)
    axes[2].set(title=title, xlabel="items")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
