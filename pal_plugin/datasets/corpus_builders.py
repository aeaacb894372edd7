"""Builders of public datasets: `pal_corpus`, `pal_shards`, and one name for each dataset.

Design choice: a split comes from shards where `build_info.shards` names some, else from the
original files, so that a run file changes one key when its data were converted. The names
`pal_audiocaps`, `pal_clotho`, ... are `pal_corpus` with its format set, made from the table of
readers.
"""

from __future__ import annotations

from typing import Any

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import READERS, reader
from pal_plugin.corpora.shards.reading import LEFT_OUT, Shards, find_shards
from pal_plugin.datasets.builders import Builder, given_candidates
from pal_plugin.datasets.corpus import CorpusDataset, check_left_out, corpus_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

_SOURCE = ("files", "where", "audio")


class ShardsBuilder(Builder):
    """Streams of shards that `pal data convert` wrote, or others of the same layout."""

    def build(self) -> dict[str, Any]:
        """Datasets by split.

        Raises:
            ConfigError: no split, nothing at a place named, clips that evaluation would miss.
        """
        return self._streams(self._labels({}))

    def _shards(self) -> dict[str, Shards]:
        named = self.settings["build_info"]["shards"] or {}
        if not named and "annotations" not in self.settings["build_info"]:
            raise ConfigError(
                "build_info.shards names no split; give for example "
                "{train: shards/esc50-train, val: shards/esc50-test}"
            )
        return {split: find_shards(source) for split, source in named.items() if source}

    def _labels(self, found: dict[str, list[str]]) -> list[str] | None:
        """Candidates: those of the configuration, else the labels of all splits.

        Raises:
            ConfigError: those of the configuration are no texts.
        """
        labels = [label for several in found.values() for label in several]
        for shards in self._shards().values():
            labels += (shards.index or {}).get("labels") or []
        given = given_candidates(self.settings["candidates"] or None)
        return given or list(dict.fromkeys(labels)) or None

    def _mix(self) -> QuestionMix:
        settings = self.settings
        return QuestionMix(
            settings["tasks"],
            settings["question_types"],
            settings["items_per_clip"],
            settings["eval_items_per_type"],
            settings["questions"],
        )

    def _streams(self, candidates: list[str] | None) -> dict[str, ShardStream]:
        info, streams = self.settings["build_info"], {}
        for split, shards in self._shards().items():
            if not self.wanted(split):
                continue
            train = self.trains(split)
            stated = (info["counts"] or {}).get(split)
            if stated is None and shards.clips is None and not train:
                raise ConfigError(
                    f"the number of clips in {shards.urls[0]} is not known; state "
                    f"build_info.counts.{split}, or name a folder with an index.json"
                )
            faults = [_told(e) for kind in LEFT_OUT for e in (shards.index or {}).get(kind, [])]
            check_left_out(faults, split=split, required=not train and not info["allow_missing"])
            streams[split] = ShardStream(
                shards.urls,
                shards.clips if stated is None else stated,
                self.processor("audio", train),
                self.processor("text", train),
                self._mix(),
                train=train,
                seed=self.settings["order_seed"],
                shuffle_buffer=self.settings["shuffle_buffer"],
                candidates=candidates,
                counts=shards.counts,
                allow_missing=info["allow_missing"],
                left_out=faults,
            )
        return streams


class CorpusBuilder(ShardsBuilder):
    """A public dataset from its original files, or from shards of it."""

    #: The reader's name; `pal_corpus` itself takes it from `build_info.format`.
    format: str | None = None

    def build(self) -> dict[str, Any]:
        """Datasets by split.

        Raises:
            ConfigError: no split, files that do not fit, audio that evaluation would miss.
        """
        info = self.settings["build_info"]
        form = self._format()
        sources = {
            split: _source(split, source)
            for split, source in (info["annotations"] or {}).items()
            if source is not None and not (info["shards"] or {}).get(split)
        }
        if not sources and not info["shards"]:
            raise ConfigError(
                f"build_info.annotations names no split; give for example {{train: FILE}} with "
                f"the files of {form} ({reader(form).annotations}), or build_info.shards"
            )
        folders: dict[str, AudioFolder] = {}
        clips, labels, left_out = {}, {}, {}
        for split, source in sources.items():
            place = source.get("audio") or info["audio"]["storage"]
            if not place:
                raise ConfigError(
                    "build_info.audio.storage must be given: the folder of the audio files"
                )
            if place not in folders:
                folders[place] = AudioFolder(place)
            clips[split], labels[split], left_out[split] = corpus_clips(
                form,
                source.get("files") or [],
                folders[place],
                source.get("where"),
                split=split,
                required=self.wanted(split)
                and not self.trains(split)
                and not info["allow_missing"],
            )
        candidates = self._labels(labels)
        datasets: dict[str, Any] = self._streams(candidates)
        for split in sources:
            if self.wanted(split):
                train = self.trains(split)
                datasets[split] = CorpusDataset(
                    clips[split],
                    self.processor("audio", train),
                    self.processor("text", train),
                    self._mix(),
                    candidates=candidates,
                    train=train,
                    seed=self.settings["order_seed"],
                    allow_missing=info["allow_missing"],
                    left_out=left_out[split],
                )
        return datasets

    def _format(self) -> str:
        given = self.settings["build_info"]["format"]
        if self.format and given not in (None, self.format):
            raise ConfigError(
                f"build_info.format is {given!r}; this dataset is {self.format!r}, leave it out"
            )
        if not self.format and not given:
            raise ConfigError(
                f"build_info.format must name the dataset; known: {', '.join(READERS)}"
            )
        reader(self.format or given)
        return self.format or given


def _source(split: str, source: Any) -> dict[str, Any]:
    """`FILE`, `[FILE, ...]` or `{files: ..., where: ..., audio: ...}` as the last of these."""
    if not isinstance(source, dict):
        source = {"files": source}
    for key in source:
        if key not in _SOURCE:
            raise ConfigError(
                f"build_info.annotations.{split}: unknown key {key!r}. {did_you_mean(key, _SOURCE)}"
            )
    files = source.get("files")
    return {**source, "files": [files] if isinstance(files, str) else files}


def _told(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    reason = entry.get("reason") or f"{entry.get('seconds')} s long"
    return f"{entry['id']}: {reason}"


for _name, _reader in READERS.items():
    _class = f"{_name.title().replace('_', '')}Builder"
    _facts = {"format": _name, "__module__": __name__, "__doc__": _reader.about}
    globals()[_class] = type(_class, (CorpusBuilder,), _facts)
