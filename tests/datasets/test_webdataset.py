"""The stream of clips out of real tars: nothing twice, nothing lost, the same for the same seed."""

import io
import pickle
import tarfile
from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from pal_plugin.audio.io import AudioError, load_audio
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.made_clips import add_clip

ALL = {"classification": 1.0, "qa": 1.0, "caption": 1.0}


def features(source):
    return load_audio(source)[0]


def clean(text):
    return " ".join(text.split())


def stack(parts):
    return torch.stack(parts)


def stream(shards, clips=8, train=True, tasks=ALL, **changes):
    mix = QuestionMix(tasks, changes.pop("types", None), items_per_clip=2)
    changes = {"candidates": ["bell", "drip"], "collate_audio": stack, **changes}
    return ShardStream(shards, clips, features, clean, mix, train=train, **changes)


@pytest.fixture
def shards(make_shard, clip_audio):
    return [
        make_shard(f"s{s}.tar", {f"clip{s}{i}": clip_audio for i in range(4)}) for s in range(2)
    ]


def ids(clips):
    return [clip["sample_id"] for clip in clips]


def test_evaluation_is_every_clip_once_with_all_its_questions(shards):
    clips = list(stream(shards, train=False))
    assert ids(clips) == [f"clip{s}{i}" for s in range(2) for i in range(4)]
    assert len(clips) == len(stream(shards, train=False)) == 8
    first = clips[0]["items"]
    assert [item["question_type"] for item in first] == [
        "kind",
        "count",
        "present",
        "present",
        "caption",
    ]
    assert first[0]["question"] == "kind ?"  # the text processor was here
    assert first[0]["candidates"] == ["bell", "drip"]
    assert "candidates" not in first[1]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_do_not_repeat_each_other(shards, workers):
    """Three workers and two shards: one has nothing to do, and says so by ending."""
    dataset = stream(shards, train=False)
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=dataset.collater)
    seen = Counter(name for batch in loader for name in set(batch["sample_id"]))
    assert seen == Counter({f"clip{s}{i}": 1 for s in range(2) for i in range(4)})


def test_training_never_ends_and_each_pass_is_whole_and_differs(shards):
    drawn = ids(islice(stream(shards), 24))
    passes = [drawn[:8], drawn[8:16], drawn[16:]]
    assert all(len(set(p)) == 8 for p in passes)
    assert passes[0] != passes[1] or passes[1] != passes[2]


@pytest.mark.parametrize(("count", "streams"), [(5, 4), (2, 3), (7, 2), (4, 4)])
def test_streams_share_a_pass_evenly_also_where_shards_do_not_divide(
    make_shard, clip_audio, count, streams
):
    """8 clips a shard: over some passes every clip comes as often as another."""
    shards = [
        make_shard(f"s{s}.tar", {f"c{s}{i}": clip_audio for i in range(streams * 2)})
        for s in range(count)
    ]
    dataset = stream(shards, shuffle_buffer=1)
    clips = count * streams * 2
    for passes in (1, 3):
        drawn = Counter(
            ticket[1]
            for number in range(streams)
            for ticket, _ in islice(dataset.draws(number, streams), passes * clips // streams)
        )
        assert drawn == dict.fromkeys(
            (f"c{s}{i}" for s in range(count) for i in range(streams * 2)), passes
        )


def test_a_seed_repeats_the_clips_and_the_questions(shards):
    def draw(seed):
        return [
            (c["sample_id"], [i["number"] for i in c["items"]])
            for c in islice(stream(shards, seed=seed), 24)
        ]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_broken_audio_is_skipped_by_name_in_training_and_an_error_in_evaluation(
    make_shard, clip_audio
):
    shard = make_shard("s.tar", {"good": clip_audio, "bad": None})
    clips = list(islice(stream([shard], clips=2), 2))
    (skipped,) = [clip for clip in clips if isinstance(clip, SkippedClip)]
    assert "bad in " in skipped.name
    batch = stream([shard]).collater(clips)
    assert batch["num_clips"] == 1
    assert len(batch["skipped"]) == 1
    with pytest.raises(AudioError, match=r"bad in .*s\.tar"):
        list(stream([shard], train=False))


def test_questions_that_no_clip_has_end_with_an_error_instead_of_a_search_forever(shards):
    with pytest.raises(ConfigError, match=r"none of 8 clips.*present\?"):
        next(iter(stream(shards, types=["present?"])))


def test_a_clip_without_its_json_is_named(tmp_path, make_shard, clip_audio):
    with tarfile.open(tmp_path / "lonely.tar", "w") as tar:
        info = tarfile.TarInfo("alone.flac")
        info.size = len(clip_audio)
        tar.addfile(info, io.BytesIO(clip_audio))
    with pytest.raises(ConfigError, match=r"alone in .*got flac"):
        list(stream([tmp_path / "lonely.tar"], train=False))


def test_clips_of_conversations_are_counted_or_estimated(tmp_path, shards, clip_audio):
    """From an index, else by the first samples; a broken one among them says nothing."""
    with tarfile.open(tmp_path / "talks.tar", "w") as tar:
        for number, clips in enumerate((2, 3, 0)):
            facts = {"id": f"t{number}", "clips": [{}] * clips, "items": []}
            add_clip(tar, [clip_audio] * clips, facts)
        info = tarfile.TarInfo("broken.json")
        tar.addfile(info, io.BytesIO())
    talks = [tmp_path / "talks.tar"]
    assert stream(talks, clips=30).audio_clips() == 50
    assert stream(talks, clips=30).only([1, 2]).audio_clips() == 4  # of 3.3
    assert stream(talks, clips=30, audio_total=61).audio_clips() == 61
    assert stream(talks, clips=None).audio_clips() is None
    assert stream(shards, clips=8).audio_clips() == 8
    assert stream([tmp_path / "gone.tar"], clips=8).audio_clips() == 8


def test_a_stream_travels_to_a_worker_that_is_spawned(shards):
    from pal_plugin.processors.audio import AudioProcessor
    from pal_plugin.processors.text import TextProcessor

    dataset = ShardStream(
        shards,
        8,
        AudioProcessor({"sslam": {"type": "sslam", "features": {"window_s": 1.0}}}),
        TextProcessor(),
        QuestionMix(ALL),
        train=False,
    )
    copy = pickle.loads(pickle.dumps(dataset))
    one, other = next(iter(dataset)), next(iter(copy))
    assert torch.equal(one["audio"]["sslam"]["features"], other["audio"]["sslam"]["features"])
