"""Builders of public datasets: `pal_corpus`, `pal_shards`, and one name per dataset.

Design choice: a split is read from shards if `build_info.shards` names some, else from the
original files, so that converting the data changes one key of a run file. The names
`pal_audiocaps`, `pal_clotho`, ... are `pal_corpus` with a fixed format, generated from the table
of readers.
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
    """Streams of shards written by `pal data convert`, or others in the same layout."""

    def build(self) -> dict[str, Any]:
        """Datasets by split.

        Raises:
            ConfigError: if there are no splits or shards, or evaluation would skip clips.
        """
        return self._streams(self._labels({}))

    def _shards(self) -> dict[str, Shards]:
        named = self.settings["build_info"]["shards"] or {}
        if not named and "annotations" not in self.settings["build_info"]:
            raise ConfigError(
                "build_info.shards has no splits; set for example "
                "{train: shards/esc50-train, val: shards/esc50-test}"
            )
        return {split: find_shards(source) for split, source in named.items() if source}

    def _labels(self, found: dict[str, list[str]]) -> list[str] | None:
        """The label set: that of the configuration, else the labels of all splits.

        Raises:
            ConfigError: if the configured labels are not texts.
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
            given = (info["counts"] or {}).get(split)
            if given is None and shards.clips is None and not train:
                raise ConfigError(
                    f"the number of clips in {shards.urls[0]} is unknown; set "
                    f"build_info.counts.{split}, or give a folder with an index.json"
                )
            faults = [_fault(e) for kind in LEFT_OUT for e in (shards.index or {}).get(kind, [])]
            check_left_out(faults, split=split, required=not train and not info["allow_missing"])
            streams[split] = ShardStream(
                shards.urls,
                shards.clips if given is None else given,
                self.processor("audio", train),
                self.processor("text", train),
                self._mix(),
                train=train,
                seed=self.settings["order_seed"],
                shuffle_buffer=self.settings["shuffle_buffer"],
                candidates=candidates,
                counts=shards.counts,
                audio_total=shards.audio_clips,
                allow_missing=info["allow_missing"],
                left_out=faults,
            )
        return streams


class CorpusBuilder(ShardsBuilder):
    """A public dataset from its original files, or from shards of it."""

    #: The reader's name; `pal_corpus` itself reads it from `build_info.format`.
    format: str | None = None

    def build(self) -> dict[str, Any]:
        """Datasets by split.

        Raises:
            ConfigError: if there are no splits, files do not parse, or evaluation would skip clips.
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
                f"build_info.annotations has no splits; set for example {{train: FILE}} with the "
                f"files of {form} ({reader(form).annotations}), or build_info.shards"
            )
        folders: dict[str, AudioFolder] = {}
        clips, labels, left_out = {}, {}, {}
        for split, source in sources.items():
            place = source.get("audio") or info["audio"]["storage"]
            if not place:
                raise ConfigError("set build_info.audio.storage to the folder of the audio files")
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
                f"build_info.format is {given!r}, but the dataset is {self.format!r}; remove it"
            )
        if not self.format and not given:
            raise ConfigError(f"set build_info.format to one of {', '.join(READERS)}")
        reader(self.format or given)
        return self.format or given


def _source(split: str, source: Any) -> dict[str, Any]:
    """Turns `FILE` and `[FILE, ...]` into `{files: ..., where: ..., audio: ...}`."""
    if not isinstance(source, dict):
        source = {"files": source}
    for key in source:
        if key not in _SOURCE:
            raise ConfigError(
                f"build_info.annotations.{split}: unknown key {key!r}. {did_you_mean(key, _SOURCE)}"
            )
    files = source.get("files")
    return {**source, "files": [files] if isinstance(files, str) else files}


def _fault(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    reason = entry.get("reason") or f"{entry.get('seconds')} s long"
    return f"{entry['id']}: {reason}"


for _name, _reader in READERS.items():
    _class = f"{_name.title().replace('_', '')}Builder"
    _facts = {"format": _name, "__module__": __name__, "__doc__": _reader.about}
    globals()[_class] = type(_class, (CorpusBuilder,), _facts)
