"""A part of a split is the same part every time, and nobody takes its figures for the whole's."""

import json
import logging
import pickle

import cli
import processes
import pytest
from torch.utils.data import Dataset, IterableDataset
from toys import write_shards

from pal_plugin.commands.main import main as pal
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.webdataset import ShardStream
from pal_plugin.evaluation.limit import drawn, limited
from pal_plugin.evaluation.loop import evaluation_loader
from pal_plugin.utils.errors import ConfigError


def test_more_clips_include_the_fewer_and_stay_in_their_order():
    few, more = drawn(1000, 10), drawn(1000, 100)
    assert set(few) < set(more)
    assert few == sorted(few) == drawn(1000, 10)
    # Of labels that come in blocks and in turns alike all are met.
    assert {place // 250 for place in more} == {place % 4 for place in more} == {0, 1, 2, 3}


class Numbers(Dataset):
    left_out, allow_missing = ("x: no file",), True

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return index

    def collater(self, clips):
        return list(clips)


def test_a_part_of_a_map_style_dataset():
    part = limited(Numbers(), 5, "mine, val")
    assert len(part) == 5
    assert (part.left_out, part.allow_missing) == (("x: no file",), True)
    loader = evaluation_loader(pickle.loads(pickle.dumps(part)), 2, 0, seed=0, pin_memory=False)
    assert [n for batch in loader for n in batch] == drawn(20, 5)
    whole = Numbers()
    assert limited(whole, 20, "") is limited(whole, None, "") is whole


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    folder = write_shards(tmp_path_factory.mktemp("shards"))
    return ShardStream(
        [folder / f"train-{i}.tar" for i in range(2)],
        12,
        lambda audio: None,
        str,
        QuestionMix({"qa": 1.0}, None, 1),
        train=False,
    )


def ids(dataset, **how):
    dataset.collate_audio = list
    loader = evaluation_loader(dataset, 2, how.pop("workers", 0), seed=0, pin_memory=False, **how)
    return sorted(name for batch in loader for name in batch["sample_id"])


def test_a_part_of_a_stream_whoever_reads_it(stream):
    every = [f"train-{shard}-{i}" for shard in range(2) for i in range(6)]
    expected = [every[place] for place in drawn(12, 5)]
    part = limited(stream, 5, "toys, val")
    assert len(part) == 5
    assert ids(part) == ids(part, workers=2) == expected
    dealt = [name for rank in range(3) for name in ids(part, rank=rank, size=3)]
    assert sorted(dealt) == expected
    assert ids(stream) == every


class Endless(IterableDataset):
    def __iter__(self):
        yield 1


def test_a_stream_that_cannot_be_read_in_part_is_refused():
    with pytest.raises(ConfigError, match=r"run.eval_limit is 5, but mine, val is a stream"):
        limited(Endless(), 5, "mine, val")


@pytest.fixture
def trained(toy):
    options = ["--options", "run.max_epoch=1", "run.eval_limit=3", "--job-id", "trained"]
    assert cli.train(["--cfg-path", str(toy.recipe), *options]) == 0
    return toy.folder / "output" / "trained"


def evaluated(toy, name, *options):
    arguments = ["--cfg-path", str(toy.recipe), "--job-id", name, "--options", *options]
    assert cli.evaluate([*arguments, "run.name=toy_recipe"]) == 0
    return toy.folder / "output" / name


def rows(folder):
    found = [json.loads(line) for line in (folder / "result/val.jsonl").read_text().splitlines()]
    return {(row["id"], row["task"]): row for row in found}


def read(path):
    return json.loads(path.read_text())["val"]


def test_the_part_is_marked_wherever_its_figures_stand(toy, trained, capsys, caplog):
    caplog.set_level(logging.INFO)
    part = evaluated(toy, "part", "run.eval_limit=3", "run.seed=7")
    assert "val: evaluating a part of the split, 3 of 8 clips (run.eval_limit)" in caplog.text
    assert "3 (37.5% of the split)" in caplog.text
    whole = evaluated(toy, "whole")
    assert len(rows(part)) == 9
    for name, row in rows(part).items():
        if name[1] != "caption":  # of which other few are generated for reading
            assert rows(whole)[name] == row
    assert rows(trained).keys() == rows(part).keys()
    for folder in (trained, part):
        assert {entry["part"] for entry in read(folder / "metrics.json").values()} == {0.375}
        assert read(folder / "evaluation.json")["provenance"]["clips"] == {
            "in the datasets": 8,
            "asked about (run.eval_limit)": 3,
            "answered": 3,
            "left out": 0,
        }
    assert not any("part" in entry for entry in read(whole / "metrics.json").values())
    capsys.readouterr()
    assert pal(["results", str(part), str(whole)]) == 0
    told = capsys.readouterr().out
    assert "part: val: evaluated 3 of 8 clips" in told
    assert "3 (37.5% of the split)" in told
    assert "| run.eval_limit " in told
    assert pal(["results", str(part), "--csv"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    place = head.split(",").index("part")
    assert {line.split(",")[place] for line in lines} == {"0.375"}


def test_a_limit_beyond_the_split_is_the_whole_of_it(toy, trained):
    folder = evaluated(toy, "all", "run.eval_limit=8")
    assert len(rows(folder)) == 24
    assert not any("part" in entry for entry in read(folder / "metrics.json").values())


@pytest.mark.slow
def test_two_processes_ask_about_the_same_part(tmp_path, shards):
    options = ["--job-id", "run", "--options", "run.max_epoch=1", "run.eval_limit=5"]
    codes, output = processes.together(tmp_path, shards, [*options, "run.torch_threads=1"], 2)
    assert codes == [0, 0], output
    every = [f"val-{shard}-{i}" for shard in range(2) for i in range(4)]
    asked = {row["sample_id"] for row in rows(tmp_path / "output" / "run").values()}
    assert asked == {every[place] for place in drawn(8, 5)}
