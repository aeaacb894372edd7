"""Shards with every kind of fault: training names it and goes on, evaluation stops."""

import io
import json
import tarfile
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from pal_plugin.audio.io import AudioError, load_audio
from pal_plugin.datasets.collate import SkippedClip, collate_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.utils.errors import ConfigError


def sound(form="WAV", seconds=0.5, channels=1, subtype=None):
    samples = np.linspace(-0.3, 0.3, int(16000 * seconds) * channels).reshape(-1, channels)
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=form, subtype=subtype)
    return file.getvalue()


def nan():
    file = io.BytesIO()
    soundfile.write(file, np.full(800, np.nan), 16000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def cut(form):
    data = sound(form, seconds=2.0)
    return data[: len(data) // 2]


FACTS = {
    "items": [{"task": "qa", "question_type": "qa", "question": "q", "answer": "a"}],
}


@pytest.fixture
def write(tmp_path):
    """write(name, {member: bytes}) -> path of the tar; each audio gets a JSON unless it is None."""

    def make(name, members, json_of=True):
        with tarfile.open(tmp_path / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for file, data in members.items():
                parts = [(file, data)]
                if json_of and not file.endswith(".json"):
                    key = file.rpartition(".")[0]
                    parts.append((f"{key}.json", json.dumps({"id": key, **FACTS}).encode()))
                for member, content in parts:
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return str(tmp_path / name)

    return make


def stream(shards, train, clips=9, **options):
    mix = QuestionMix({"qa": 1.0})
    options = {"shuffle_buffer": 1, **options}
    return ShardStream(shards, clips, lambda d: load_audio(d)[0], str, mix, train=train, **options)


def one_pass(shards, clips, **options):
    """`(ids heard, {name: reason} of what was skipped)` of the first clips of training."""
    found = list(islice(stream(shards, True, **options), clips))
    skipped = {c.name: c.reason for c in found if isinstance(c, SkippedClip)}
    return sorted(c["sample_id"] for c in found if isinstance(c, dict)), skipped


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("b.flac", cut("FLAC")),
        ("b.wav", cut("WAV")),
        ("b.ogg", cut("OGG")),
        ("b.mp3", cut("MP3")),
        ("b.wav", b""),
        ("b.wav", b"text that is called wav"),
        ("b.wav", nan()),
    ],
    ids=["flac", "wav", "ogg", "mp3", "empty", "text", "nan"],
)
def test_a_clip_that_is_broken(write, file, data):
    shard = write("s.tar", {"a.wav": sound(), file: data, "c.wav": sound()})
    heard, skipped = one_pass([shard], 3)
    assert heard == ["a", "c"]
    assert list(skipped) == [f"b in {shard}"]
    with pytest.raises(AudioError, match=r"b in .*s\.tar"):
        list(stream([shard], False))


def test_short_clips_and_six_channels_are_heard(write):
    shard = write("s.tar", {"a.wav": sound(seconds=0.01), "b.wav": sound(channels=6)})
    assert [c["sample_id"] for c in stream([shard], False)] == ["a", "b"]


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"b.wav": sound()}, "got wav"),
        ({"b.json": json.dumps({"id": "b", **FACTS}).encode()}, "got json"),
        ({"b.wav": sound(), "b.json": b"{"}, "cannot parse json"),
        ({"b.wav": sound(), "b.json": b"[]"}, "has no list of items"),
    ],
    ids=["no json", "no audio", "broken json", "no items"],
)
def test_a_clip_without_its_other_half(write, members, told):
    good = {"a.wav": sound(), "a.json": json.dumps({"id": "a", **FACTS}).encode()}
    shard = write("s.tar", {**good, **members}, json_of=False)
    heard, skipped = one_pass([shard], 2)
    assert heard == ["a"]
    assert told in skipped[f"b in {shard}"]
    with pytest.raises(ConfigError, match=f"b in .*{told}"):
        list(stream([shard], False))


def test_foreign_items_are_asked_or_named(write):
    def shard(item):
        text = json.dumps({"id": "b", "items": [item]}).encode()
        return write("s.tar", {"b.wav": sound(), "b.json": text}, json_of=False)

    path = shard({"task": "qa", "question": "q", "answer": "a"})
    (clip,) = stream([path], False)
    assert clip["items"][0]["question_type"] == "qa"
    path = shard({"question": "q", "answer": "a"})
    with pytest.raises(ConfigError, match=r"b in .*s\.tar: item 0 has no task"):
        list(stream([path], False))
    skipped = next(iter(stream([path], True)))
    assert (skipped.name, skipped.reason) == (f"b in {path}", "item 0 has no task")


def test_a_tar_that_is_cut_in_the_middle(write):
    whole = write("a.tar", {f"a{n}.wav": sound() for n in range(3)})
    path = write("b.tar", {f"b{n}.wav": sound() for n in range(3)})
    with open(path, "r+b") as file:
        file.truncate(24_000)  # within the audio of b1
    options = {"seed": 1}
    heard, skipped = one_pass([whole, path], 5, **options)
    assert heard == ["a0", "a1", "a2", "b0"]
    ((name, reason),) = skipped.items()
    assert name == f"after b0 in {path}"
    assert "unexpected end of data" in reason
    with pytest.raises(ConfigError, match=r"b\.tar.*unexpected end"):
        list(stream([whole, path], False))


def test_a_tar_that_is_cut_between_two_clips_is_known_by_its_count(write):
    path = write("b.tar", {f"b{n}.wav": sound() for n in range(3)})
    with tarfile.open(path) as tar:
        end = tar.getmembers()[4].offset
    with open(path, "r+b") as file:
        file.truncate(end)
    assert len(list(stream([path], False))) == 2  # nothing in the tar tells
    heard, skipped = one_pass([path], 3, counts={path: 3})
    assert heard == ["b0", "b1"]
    assert skipped == {f"the end in {path}": "expected 3 clips, read 2"}
    with pytest.raises(ConfigError, match="expected 3 clips, read 2"):
        list(stream([path], False, counts={path: 3}))


def test_a_shard_that_vanished(write, tmp_path):
    here, gone = write("a.tar", {"a.wav": sound()}), str(tmp_path / "gone.tar")
    heard, skipped = one_pass([here, gone], 2)
    assert heard == ["a"]
    assert skipped == {f"the shard in {gone}": "no such file"}
    with pytest.raises(ConfigError, match=r"gone\.tar: no such file"):
        list(stream([here, gone], False))


def test_a_command_that_fails_is_named(write):
    here = write("a.tar", {"a.wav": sound()})
    piped = f"pipe:cat {here}"
    assert [c["sample_id"] for c in stream([piped], False)] == ["a"]
    with pytest.raises(ConfigError, match="pipe:cat /nowhere"):
        list(stream(["pipe:cat /nowhere 2>/dev/null"], False))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("cat {0}; exit 3", "command exited with code 3"),
        ("cat {0}; sleep 0.2; exit 3", "command exited with code 3"),
        (
            "cat {0} {0}",
            "data after the end of the archive (a shard is one tar; list several separately)",
        ),
    ],
)
def test_a_command_loses_no_clip_and_what_is_wrong_at_its_end_is_named(write, command, says):
    here = write("a.tar", {f"{name}.wav": sound() for name in "abc"})
    piped = f"pipe:{command.format(here)}"
    heard, skipped = one_pass([piped], 4)
    assert heard == ["a", "b", "c"]
    assert skipped == {f"after c in {piped}": says}


def test_shards_that_are_all_gone_end_with_an_error(tmp_path):
    dataset = stream([str(tmp_path / "gone.tar")], True)
    with pytest.raises(ConfigError, match=r"none of \d clips is usable"):
        list(islice(dataset, 9))


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_a_worker_whose_only_shard_vanished_leaves_the_others_going(write, tmp_path):
    shards = [write("a.tar", {"a.wav": sound()}), str(tmp_path / "gone.tar")]
    dataset = stream(shards, True)
    loader = DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=_collate)
    batches = list(islice(loader, 20))
    skipped = sum(len(batch["skipped"]) for batch in batches)
    assert skipped >= 1
    assert sum(batch["num_clips"] for batch in batches) == 20 - skipped >= 3


def _collate(clips):
    return collate_clips(clips, torch.nn.utils.rnn.pad_sequence)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 0), (3, 0), (2, 3)])
def test_readers_of_an_evaluation_share_it_also_past_what_is_broken(
    write, tmp_path, processes, workers, known
):
    shards = [
        write("a.tar", {f"a{i}.wav": sound() for i in range(4)}),
        str(tmp_path / "gone.tar"),
        write("b.tar", {f"b{i}.wav": b"x" if i == 3 else sound() for i in range(5)}),
    ]
    counts = dict(zip(shards, (4, 3, 5), strict=True)) if known else None
    clips = 12 if known else 10
    dataset = stream(shards, False, clips, counts=counts, allow_missing=True)
    found = []
    for rank in range(processes):
        part = dataset.part(rank, processes) if processes > 1 else dataset
        found += DataLoader(part, batch_size=None, num_workers=workers, collate_fn=list_or_skipped)
    heard = Counter(name for kind, name in found if kind == "heard")
    assert heard == dict.fromkeys([*(f"a{i}" for i in range(4)), "b0", "b1", "b2", "b4"], 1)
    skipped = Counter(name.partition(" in ")[0] for kind, name in found if kind == "skipped")
    assert skipped == {"the shard": 1, "b3": 1}


def list_or_skipped(clip):
    skipped = isinstance(clip, SkippedClip)
    return ("skipped", clip.name) if skipped else ("heard", clip["sample_id"])


def test_names_in_a_tar_write_nothing(write, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shard = write("s.tar", {"../../x.wav": sound(), "/tmp/pal_y.wav": sound(), "雨.wav": sound()})
    before = sorted(tmp_path.rglob("*"))
    assert len(list(stream([shard], False))) == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_counts_reach_the_batch(write):
    shard = write("s.tar", {"a.wav": sound(), "b.wav": b"", "c.wav": b"x"})
    batch = _collate(list(islice(stream([shard], True), 3)))
    assert batch["num_clips"] == 1
    assert [name.split(" in ")[0] for name in batch["skipped"]] == ["b", "c"]
