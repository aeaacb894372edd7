"""The clips of a report are those of its rows, read again from any of our datasets."""

import logging

import numpy as np
import pytest
import soundfile
import toys
from torch.utils.data import ConcatDataset

from pal_plugin.datasets.clips import ClipDataset, LabelledClip
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.evaluation.example_clips import LONGEST_S, RATE_HZ, keep_clips, kept_clips
from pal_plugin.evaluation.limit import limited


def never(audio):
    raise AssertionError("no clip is turned into features")


def files(folder, count=4, rate_hz=16000):
    """A dataset of `count` files, each of its own length."""
    clips = []
    for number in range(count):
        path = folder / f"{number}.wav"
        time_s = np.arange(1600 * (number + 1)) / rate_hz
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * time_s), rate_hz)
        clips.append(LabelledClip(path, "low"))
    return ClipDataset(clips, never, str, ["What?"], ["low"])


def example(sample, dataset=None, split="val"):
    return split, {"sample_id": sample, **({} if dataset is None else {"dataset": dataset})}


@pytest.mark.parametrize("kind", ["files", "joined", "limited"])
def test_the_clips_of_files_are_kept(tmp_path, kind):
    dataset = files(tmp_path)
    if kind == "joined":
        dataset = ConcatDataset([dataset])
    if kind == "limited":
        dataset = limited(dataset, 3, "d")
    wanted = ["1.wav", "3.wav"] if kind != "limited" else [f"{n}.wav" for n in dataset.indices[:2]]
    result = tmp_path / "result"
    result.mkdir()
    assert keep_clips([*map(example, wanted)], {"val": {"d": dataset}}, result) == 2
    kept = kept_clips(result)
    assert kept.keys() == {("val", None, name) for name in wanted}
    for name in wanted:
        (clip,) = kept["val", None, name]
        assert clip.seconds == pytest.approx(0.1 * (int(name[0]) + 1))
        samples, rate_hz = soundfile.read(clip.path)
        assert rate_hz == RATE_HZ
        before, _ = soundfile.read(tmp_path / name)
        assert len(samples) == len(before)
        assert np.corrcoef(samples, before)[0, 1] > 0.99


def test_the_clips_of_shards_and_of_several_datasets_are_kept(tmp_path):
    toys.write_shards(tmp_path)
    mix = QuestionMix({"qa": 1.0})
    stream = ShardStream(
        [tmp_path / f"val-{n}.tar" for n in range(2)], 8, never, str, mix, train=False
    )
    splits = {"val": {"shards": stream, "files": files(tmp_path)}, "test": {"shards": stream}}
    rows = [example("val-1-2", "shards"), example("2.wav", "files")]
    rows += [example("val-0-0", split="test"), example("gone", "files")]
    assert keep_clips(rows, splits, tmp_path) == 3
    kept = kept_clips(tmp_path)
    assert kept.keys() == {
        ("val", "shards", "val-1-2"),
        ("val", "files", "2.wav"),
        ("test", None, "val-0-0"),
    }
    assert len({clip.path for (clip,) in kept.values()}) == 3
    assert keep_clips([], splits, tmp_path) == 0  # what a report does not show is not kept
    assert list((tmp_path / "clips").iterdir()) == []


def test_long_clips_are_cut_and_their_length_is_kept(tmp_path):
    dataset = files(tmp_path, 1)
    soundfile.write(tmp_path / "0.wav", np.zeros(int(8000 * (LONGEST_S + 2))), 8000)
    keep_clips([example("0.wav")], {"val": {"d": dataset}}, tmp_path)
    ((clip,),) = kept_clips(tmp_path).values()
    assert clip.seconds == LONGEST_S + 2
    assert soundfile.info(clip.path).frames == LONGEST_S * RATE_HZ


def test_what_cannot_be_read_again_is_left_out(tmp_path, caplog):
    assert kept_clips(tmp_path) == {}  # a run of an earlier version
    assert keep_clips([example("0")], {"val": {"d": [0, 1]}}, tmp_path) == 0
    dataset = files(tmp_path, 1)
    (tmp_path / "0.wav").write_bytes(b"no audio")
    with caplog.at_level(logging.WARNING):
        keep_clips([example("0.wav")], {"val": {"d": dataset}}, tmp_path)
    assert "not in the report" in caplog.text
    assert kept_clips(tmp_path) == {("val", None, "0.wav"): []}
