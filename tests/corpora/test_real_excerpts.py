"""Readers on excerpts of the published files, and real clips from file to training."""

from collections import Counter
from itertools import islice

import pytest

from pal_plugin.audio.io import load_audio
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.corpora.shards.convert import convert
from pal_plugin.corpora.shards.reading import find_shards
from pal_plugin.corpora.shards.verify import verify
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream

pytestmark = pytest.mark.shared

#: Dataset, files below annotations/, clips, items, labels.
EXCERPTS = [
    ("audiocaps", ["audiocaps/v1_train.csv"], 200, 200, 0),
    ("audiocaps", ["audiocaps/v1_test.csv"], 184, 184, 0),
    ("audiocaps", ["audiocaps/v1_val.csv"], 170, 170, 0),
    ("audiocaps", ["audiocaps/v2_test.csv"], 189, 189, 0),
    ("audiocaps", ["audiocaps/v2_val.csv"], 165, 165, 0),
    ("clotho", ["clotho/clotho_captions_development.csv"], 200, 200, 0),
    ("clotho", ["clotho/clotho_captions_evaluation.csv"], 200, 200, 0),
    ("vggsound", ["vggsound/vggsound_excerpt.csv"], 40, 40, 36),
    (
        "audioset",
        ["audioset/sslam_as20k_train.lbl", "audioset/class_labels_indices.csv"],
        *(201, 201, 527),
    ),
    ("dcase17", ["dcase_desed/test_dcase2018_excerpt.tsv"], 15, 15, 9),
    ("mmau", ["mmau/mmau-test-mini_excerpt.json"], 206, 206, 0),
]


@pytest.mark.parametrize(("dataset", "files", "clips", "items", "labels"), EXCERPTS)
def test_an_excerpt_is_read_whole(shared, tmp_path, dataset, files, clips, items, labels):
    paths = [shared / "annotations" / file for file in files]
    corpus = read_corpus(dataset, paths, AudioFolder(tmp_path))
    assert len(corpus.records) == clips
    assert sum(len(record.items) for record in corpus.records) == items
    assert len(corpus.labels or []) == labels
    assert not corpus.problems


def test_all_captions_of_a_clip_are_references(shared, tmp_path):
    path = shared / "annotations" / "audiocaps" / "v1_test.csv"
    corpus = read_corpus("audiocaps", [path], AudioFolder(tmp_path))
    assert sum(len(r.items[0]["answers"]) for r in corpus.records) == 200


def test_mmau_holds_its_numbers_of_choices(shared, tmp_path):
    path = shared / "annotations" / "mmau" / "mmau-test-mini_excerpt.json"
    corpus = read_corpus("mmau", [path], AudioFolder(tmp_path))
    counts = Counter(len(item["candidates"]) for r in corpus.records for item in r.items)
    assert counts[4] == 198
    assert set(counts) - {4} <= {2, 3, 5, 8}


def heard(shards, clips):
    """`clips` clips of a training stream: sample ids and answers by id."""
    stream = ShardStream(
        shards.urls,
        shards.clips,
        lambda data: load_audio(data)[0],
        str,
        QuestionMix({"classification": 1.0}),
        train=True,
        candidates=shards.index["labels"],
        counts=shards.counts,
    )
    return {clip["sample_id"]: clip["items"][0]["answer"] for clip in islice(stream, clips)}


def test_esc10_from_its_csv_to_training(shared, tmp_path):
    audio = shared / "audio" / "esc10_f1234"
    index = convert(
        "esc50",
        audio,
        [audio / "esc10_f1234.csv"],
        tmp_path / "out",
        where={"fold": ["1"], "category": ["dog", "rain", "rooster"]},
        shard_clips=10,
        workers=1,
        progress=False,
    )
    assert index["clips"] == 24
    assert index["labels"] == sorted(index["labels"])
    shards = find_shards(tmp_path / "out")
    assert verify(shards) == []
    answers = heard(shards, 24)
    assert answers["1-100032-A-0"] == "dog"
    assert Counter(answers.values()) == {"dog": 8, "rain": 8, "rooster": 8}


def test_digits_from_their_names_to_training(shared, tmp_path):
    index = convert(
        "fsdd",
        shared / "audio" / "fsdd",
        [],
        tmp_path / "out",
        where={"speaker": ["george"], "take": ["0", "1"]},
        form="flac",
        rate_hz=16000,
        workers=1,
        progress=False,
    )
    assert index["clips"] == 20
    assert index["rates_hz"] == {"16000": 20}
    shards = find_shards(tmp_path / "out")
    assert verify(shards) == []
    assert heard(shards, 20)["3_george_1"] == "three"
