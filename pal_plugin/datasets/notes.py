"""`pal_notes`: notes of ten instruments, rendered from a soundfont on first use and cached."""

from __future__ import annotations

from pathlib import Path

from pal_plugin.datasets.builders import Builder
from pal_plugin.datasets.clips import ClipDataset, LabelledClip
from pal_plugin.utils.locations import cache_folder


class NotesBuilder(Builder):
    """Closed questions of type `notes`."""

    def build(self) -> dict[str, ClipDataset]:
        """Datasets by split.

        Raises:
            ConfigError: see `pal_plugin.notes.ensure_clips`.
        """
        from pal_plugin.notes import LABELS, ensure_clips

        info, settings = self.settings["build_info"], self.settings
        cache = Path(info["storage"]).expanduser() if info["storage"] else cache_folder()
        datasets = {}
        for split, count in info["clips"].items():
            if not count or not self.wanted(split):
                continue
            train = self.trains(split)
            clips = ensure_clips(
                cache, info["soundfont"], split, count, info["seed"], info["workers"]
            )
            datasets[split] = ClipDataset(
                [LabelledClip(path, label) for path, label in clips],
                self.processor("audio", train),
                self.processor("text", train),
                settings["questions"],
                LABELS,
                question_type="notes",
                train=train,
                seed=settings["order_seed"],
            )
        return datasets
