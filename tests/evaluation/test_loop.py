"""The loop of evaluation and its loader: blocks of processes, and what was left out."""

import pytest
import torch
from torch.utils.data import IterableDataset

from pal_plugin.evaluation.loop import divisible, evaluate, evaluation_loader
from pal_plugin.utils.precision import Precision


class Numbers(list):
    collater = staticmethod(list)


def test_evaluation_is_one_pass_in_order_by_the_datasets_collater():
    loader = evaluation_loader(Numbers(range(5)), 2, 0, seed=0, pin_memory=False)
    assert list(loader) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("size", [0, 1, 5, 11])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_every_process_asks_about_its_own_block(size, processes):
    blocks = [
        [
            n
            for batch in evaluation_loader(
                Numbers(range(size)), 2, 0, seed=0, pin_memory=False, rank=rank, size=processes
            )
            for n in batch
        ]
        for rank in range(processes)
    ]
    assert [n for block in blocks for n in block] == list(range(size))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(5))


class Divided(Stream):
    def part(self, rank, size):
        return list(range(5))[rank::size]


def test_a_stream_is_read_whole_by_every_process_unless_it_has_parts():
    assert [divisible(d) for d in (Numbers(), Stream(), Divided())] == [True, False, True]
    how = {"seed": 0, "pin_memory": False, "rank": 1, "size": 2}
    whole = evaluation_loader(Stream(), 5, 0, **how)
    part = evaluation_loader(Divided(), 5, 0, **how)
    assert [next(iter(batches)).tolist() for batches in (whole, part)] == [[0, 1, 2, 3, 4], [1, 3]]


class Task:
    def valid_step(self, model, samples):
        assert not model.training
        assert not torch.is_grad_enabled()
        return [{"id": name} for name in samples["question_id"]]


def asked(batches, **how):
    cpu = torch.device("cpu")
    return evaluate(
        task=Task(),
        model=torch.nn.Linear(1, 1),
        batches=batches,
        clips=None,
        split="val",
        precision=Precision("none", cpu),
        device=cpu,
        **how,
    )


def test_rows_come_in_order_and_what_was_left_out_is_named(caplog):
    batches = [
        {"question_id": ["a"], "num_clips": 1, "skipped": ["x.wav (cut)"]},
        {"question_id": ["b", "c"], "num_clips": 1},
    ]
    rows, left_out = asked(batches)
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert left_out == ["x.wav (cut)"]
    assert "skipped 1 clips of val" in caplog.text


def test_it_can_be_ended_between_batches():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked([{"question_id": ["a"], "num_clips": 1}], check=stop)
