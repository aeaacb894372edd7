"""Dataset builders: build a `datasets:` section into datasets by split."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.config.registry import PROCESSORS
from pal_plugin.corpora.texts import one_form, text_fault
from pal_plugin.datasets.clips import ClipDataset, held_out, present, read_annotations
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import cache_folder


class Builder:
    """Base class, with processors under `audio_processor` and `text_processor`.

    Attributes:
        splits: the splits that a run uses; others are not built. None builds all.
        train_splits: the splits to train on; the others are evaluation data.
    """

    splits: Collection[str] | None = None
    train_splits: Collection[str] = frozenset({"train"})

    def __init__(self, cfg: Any) -> None:
        self.settings = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True)

    def build_datasets(self) -> dict[str, Any]:
        """Datasets by split."""
        return self.build()

    def wanted(self, split: str) -> bool:
        """Whether a run uses this split."""
        return self.splits is None or split in self.splits

    def trains(self, split: str) -> bool:
        """Whether a run trains on this split: endless, shuffled, with the training processors."""
        return split in self.train_splits

    def processor(self, kind: str, train: bool) -> Any:
        """The processor of `kind` ("audio", "text") for training or evaluation.

        Raises:
            ConfigError: if its name is not registered.
        """
        config = self.settings[f"{kind}_processor"]["train" if train else "eval"]
        return PROCESSORS.get(config["name"]).from_config(config)


class MadeClipsBuilder(Builder):
    """Synthetic clips, rendered to shards on first use and cached."""

    def build(self) -> dict[str, ShardStream]:
        """Datasets by split."""
        info, settings = self.settings["build_info"], self.settings
        cache = Path(info["storage"]).expanduser() if info["storage"] else cache_folder()
        mix = QuestionMix(
            settings["tasks"],
            settings["question_types"],
            settings["items_per_clip"],
            settings["eval_items_per_type"],
            settings.get("questions"),
        )
        datasets = {}
        for split, clips in info["clips"].items():
            if not clips or not self.wanted(split):
                continue
            train = self.trains(split)
            datasets[split] = ShardStream(
                self.shards(cache, split, clips),
                clips,
                self.processor("audio", train),
                self.processor("text", train),
                mix,
                train=train,
                seed=settings["order_seed"],
                shuffle_buffer=settings["shuffle_buffer"],
                candidates=self.candidates(),
            )
        return datasets

    def shards(self, cache: Path, split: str, clips: int) -> list[Path]:
        """The tar files of a split; renders them if they are not cached."""
        raise NotImplementedError

    def candidates(self) -> list[str]:
        """The label set of its classification items."""
        raise NotImplementedError


def given_candidates(candidates: Any) -> list[str] | None:
    """The label set of a run file, normalized and without repetitions; None if it gives none.

    Raises:
        ConfigError: if it is not a list of texts.
    """
    if candidates is None:
        return None
    if not isinstance(candidates, list) or not candidates or any(map(text_fault, candidates)):
        raise ConfigError(
            "candidates must be null (the labels found in the data) or a list of texts, quoted "
            f"where YAML would read a number or a boolean; got {candidates!r}"
        )
    return list(dict.fromkeys(map(one_form, candidates)))


class SoundWorldBuilder(MadeClipsBuilder):
    """Synthetic, labelled sound scenes."""

    content = "soundworld"

    def shards(self, cache: Path, split: str, clips: int) -> list[Path]:
        """Generate the missing shards of a split; returns their paths."""
        from pal_plugin.soundworld import ensure_shards

        info = self.settings["build_info"]
        wanted = (cache, split, clips, info["seed"], info["workers"])
        return ensure_shards(*wanted, content=self.content)

    def candidates(self) -> list[str]:
        """The closed set of labels."""
        from pal_plugin.soundworld import LABELS

        return LABELS


class SoundWorldTalksBuilder(SoundWorldBuilder):
    """Conversations about several synthetic scenes."""

    content = "soundworld_talks"

    def candidates(self) -> list[str]:
        """None of the dataset: each conversation has its own."""
        return []


class SpokenBuilder(MadeClipsBuilder):
    """Synthetic speech with transcripts, and spoken digits."""

    def shards(self, cache: Path, split: str, clips: int) -> list[Path]:
        """Generate the missing shards of a split; returns their paths."""
        from pal_plugin.spoken import Settings, ensure_shards

        info = self.settings["build_info"]
        settings = Settings.of_split(info, split)
        return ensure_shards(cache, split, clips, info["seed"], settings, info["workers"])

    def candidates(self) -> list[str]:
        """The closed set of labels: the digits."""
        from pal_plugin.corpora.readers.speech import DIGITS

        return list(DIGITS)


class ClipsBuilder(Builder):
    """A folder of clips with an ESC-50-style CSV."""

    def build(self) -> dict[str, ClipDataset]:
        """Datasets by split, see `Builder.build`."""
        info, settings = self.settings["build_info"], self.settings
        if not info["annotations"]:
            raise ConfigError(
                "build_info.annotations has no splits; set for example "
                "{val: {storage: clips.csv, where: {fold: [4]}}}"
            )
        columns = info["columns"]
        by_split, parts = {}, {}
        for split, source in info["annotations"].items():
            unknown = set(source or {}) - {"storage", "where", "part_of_train"}
            if unknown or not (source or {}).get("storage"):
                raise ConfigError(
                    f"build_info.annotations.{split}: expected storage (a CSV), optionally where "
                    f"and part_of_train, got {source!r}"
                )
            if source.get("part_of_train") and not source.get("where"):
                parts[split] = source["part_of_train"]
                continue
            by_split[split] = read_annotations(
                source["storage"],
                info["audio"]["storage"],
                filename_column=columns["filename"],
                label_column=columns["label"],
                where=source.get("where"),
                labels=settings["labels"],
            )
        for split, part in parts.items():
            if "train" not in by_split:
                raise ConfigError(
                    f"build_info.annotations.{split} takes a part of train, but there is no train"
                )
            by_split["train"], by_split[split] = held_out(by_split["train"], part)
        found = sorted({clip.label for clips in by_split.values() for clip in clips})
        candidates = given_candidates(settings["candidates"]) or found
        stray = [label for label in found if label not in candidates]
        if stray:
            raise ConfigError(
                f"the annotations have labels that are not in candidates: {', '.join(stray)} "
                f"(candidates: {', '.join(candidates)})"
            )
        datasets = {}
        for split, clips in by_split.items():
            if not self.wanted(split):
                continue
            train = self.trains(split)
            there = present(clips, required=not train and not info["allow_missing"], split=split)
            gone = sorted({clip.path for clip in clips} - {clip.path for clip in there})
            datasets[split] = ClipDataset(
                there,
                self.processor("audio", train),
                self.processor("text", train),
                settings["questions"],
                candidates,
                question_type=settings["question_type"],
                train=train,
                seed=settings["order_seed"],
                allow_missing=info["allow_missing"],
                left_out=[f"{path}: no such file" for path in gone],
            )
        return datasets
