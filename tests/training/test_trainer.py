"""Optimizer steps: however dealt, skipped clips, bad losses, memory, being told to stop."""

import copy
import itertools
import logging
import math

import pytest
import torch

from pal_plugin.batch import to_device
from pal_plugin.datasets.workers import DataWorkerError
from pal_plugin.training.distributed import World
from pal_plugin.training.faults import NonFiniteLossError, OutOfMemoryBatchError
from pal_plugin.training.pace import RECENT
from pal_plugin.training.progress import Progress
from pal_plugin.training.run_time import RunTime
from pal_plugin.training.streams import MicroBatch
from pal_plugin.training.trainer import PATIENCE, Trainer
from pal_plugin.utils.errors import ConfigError, Preempted
from pal_plugin.utils.precision import Precision

CPU = torch.device("cpu")


class Schedule:
    def step(self, cur_epoch, cur_step):
        pass


class LossTask:
    """The loss of a batch is the mean over its rows, as LAVIS's tasks return it."""

    def train_step(self, model, samples):
        if samples.get("memory"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        rows = torch.tensor(samples["rows"])
        loss = model(torch.nn.functional.dropout(rows, 0.5)).mean()
        return loss * samples.get("factor", 1.0), {"extra": 1}


def batch(*rows, skipped=(), **more):
    values = [[float(r), 1.0] for r in rows]
    ids = [f"id{r}" for r in rows]
    return {"rows": values, "text_input": ids, "question_id": ids, "skipped": list(skipped), **more}


def trainer(batches, rank=0, size=1, accumulate=1, progress=None, lr=0.1, **changes):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    numbers = itertools.count(rank, size)
    endless = itertools.cycle(batches)
    micros = (
        MicroBatch(n, {"stream": 0, "place": n + 1}, copy.deepcopy(b))
        for n, b in zip(numbers, endless, strict=False)  # neither ends
    )
    return Trainer(
        task=LossTask(),
        model=model,
        plain=model,
        batches=micros,
        optimizer=optimizer,
        schedule=Schedule(),
        precision=Precision("none", CPU),
        device=CPU,
        accumulate=accumulate,
        progress=progress or Progress(),
        **changes,
    )


def losses(run, steps):
    lines = []
    run.report, run.log_freq = lines.append, 1
    run.epoch(steps)
    return [line["batch_loss"] for line in lines]


def test_a_step_is_the_mean_over_all_its_rows_however_they_are_dealt():
    """Also with unequal batches and with dropout, whose numbers come from the batch's place."""
    run = trainer([batch(1), batch(2, 3, 4)], accumulate=2)
    before = copy.deepcopy(run.model.state_dict())
    (first,) = losses(run, 1)
    reference = torch.nn.Linear(2, 1)
    reference.load_state_dict(before)
    parts = []
    for number, part in enumerate([batch(1), batch(2, 3, 4)]):
        seed_as_the_trainer_does(number)
        dropped = torch.nn.functional.dropout(torch.tensor(part["rows"]), 0.5)
        parts.append(reference(dropped).flatten())
    mean = torch.cat(parts).mean()
    mean.backward()
    assert first == pytest.approx(float(mean.detach()), abs=1e-6)
    expected = before["weight"] - 0.1 * reference.weight.grad
    torch.testing.assert_close(run.model.weight.detach(), expected)


def seed_as_the_trainer_does(number):
    import zlib

    torch.manual_seed(zlib.crc32(f"0-{number}".encode()))


def test_the_model_says_over_how_many_tokens_its_loss_is_the_mean():
    run = trainer([batch(1), batch(2)], accumulate=2, lr=0.0)
    run.plain.answer_tokens = lambda samples: 3 if samples["question_id"] == ["id1"] else 1
    (weighted,) = losses(run, 1)
    one, two = losses(trainer([batch(1), batch(2)], lr=0.0), 2)
    assert weighted == pytest.approx((3 * one + two) / 4)


def test_going_on_repeats_nothing_and_forgets_nothing():
    data = [batch(1), batch(2, 5), batch(3), batch(4)]
    whole = trainer(data, accumulate=2)
    expected = losses(whole, 6)
    first = trainer(data, accumulate=2)
    begun = losses(first, 4)
    kept = Progress.from_json(first.progress.to_json())
    second = trainer(data[:], accumulate=2, progress=kept)
    for _ in range(kept.micros):
        next(second.batches)
    second.model.load_state_dict(first.model.state_dict())
    assert begun + losses(second, 6) == expected
    assert second.progress.order == whole.progress.order
    assert second.progress.clips == whole.progress.clips == 15


def test_a_loader_that_is_elsewhere_is_noticed():
    run = trainer([batch(1)])
    next(run.batches)
    with pytest.raises(RuntimeError, match="micro-batch 1, expected 0"):
        run.epoch(1)


def test_skipped_clips_are_counted_by_name_and_empty_batches_passed_over(caplog):
    caplog.set_level(logging.WARNING)
    stats = trainer([batch(skipped=["b.flac (empty)"]), batch(1, 2)]).epoch(2)
    assert stats.summary()["skipped_clips"] == 2
    assert stats.steps == 2
    assert stats.clips == 4
    assert "skipped 2 unusable clips: b.flac (empty)" in caplog.text


@pytest.mark.parametrize("first", [True, False])
def test_an_empty_batch_among_others_of_a_step_counts_nothing(first):
    data = [batch(1, 2), batch(skipped=["x"])]
    mixed = losses(trainer(data if first else data[::-1], accumulate=2), 3)
    alone = trainer([batch(1, 2)])
    seeds = itertools.count(0 if first else 1, 2)
    alone.batches = (MicroBatch(i, {"stream": 0, "place": 1}, batch(1, 2)) for i in seeds)
    alone.progress.micros = 0
    for expected in mixed:
        micro = next(alone.batches)
        loss, _ = alone._learn([micro], [2.0], 2.0)
        assert loss == expected


def test_nothing_but_broken_clips_is_an_error_instead_of_a_search_forever():
    with pytest.raises(ConfigError, match=r"50 consecutive steps.*no usable clip.*x\.flac"):
        trainer([batch(skipped=["x.flac (broken)"])]).epoch(1)


def test_gradients_are_clipped_to_the_norm_that_was_asked():
    def moved(**how):
        run = trainer([batch(1, 2, factor=100.0)], lr=1.0, **how)
        before = [p.detach().clone() for p in run.model.parameters()]
        run.epoch(1)
        after = list(run.model.parameters())
        return math.sqrt(
            sum(float((a - b).pow(2).sum()) for a, b in zip(after, before, strict=True))
        )

    assert moved() > 100
    assert moved(grad_clip=0.1) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_by_name_and_changes_nothing(bad):
    told = []
    run = trainer([batch(1), batch(2, 3, factor=bad)], accumulate=2, report_fault=told.append)
    before = copy.deepcopy(run.model.state_dict())
    with pytest.raises(NonFiniteLossError, match=r"epoch 0, step 0.*id1, id2, id3"):
        run.epoch(1)
    assert told[0]["samples"] == ["id1", "id2", "id3"]
    assert all(torch.equal(before[k], v) for k, v in run.model.state_dict().items())


def test_a_bad_loss_can_be_left_out(caplog):
    run = trainer([batch(1), batch(2, factor=float("nan"))], on_nonfinite="skip")
    stats = run.epoch(4)
    assert stats.summary()["steps"] == 2
    assert stats.summary()["steps_left_out"] == 2
    assert all(p.isfinite().all() for p in run.model.parameters())
    assert "skipping the step" in caplog.text
    hopeless = trainer([batch(2, factor=float("nan"))], on_nonfinite="skip")
    with pytest.raises(NonFiniteLossError):
        hopeless.epoch(PATIENCE + 1)


class Scaler:
    """The rules of GradScaler that matter: one unscale for each update."""

    def __init__(self):
        self.unscaled, self.steps = False, 0

    def is_enabled(self):
        return True

    def scale(self, loss):
        return loss

    def unscale_(self, optimizer):
        assert not self.unscaled, "unscale_() has already been called"
        self.unscaled = True

    def step(self, optimizer):
        self.steps += 1

    def update(self):
        self.unscaled = False


def test_a_scaler_goes_on_behind_a_step_that_was_left_out():
    data = [batch(1), batch(2, factor=float("nan"))]
    run = trainer(data, on_nonfinite="skip")
    run.precision.scaler = Scaler()
    stats = run.epoch(5)
    assert (stats.steps, stats.left_out) == (3, 2)
    assert run.precision.scaler.steps == 3


def test_a_scaler_that_finds_no_scale_is_noticed():
    run = trainer([batch(1)])
    run.precision.scaler = Scaler()
    run.model.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteLossError, match="norm of the gradient"):
        run.epoch(PATIENCE + 1)


def test_float16_weights_under_a_scaler_are_refused_before_the_first_step():
    model = torch.nn.Linear(2, 1).half()
    precision = Precision("none", CPU)
    precision.scaler = Scaler()
    with pytest.raises(ConfigError, match=r"2 of them are float16.*run.amp=bf16"):
        Trainer(
            task=LossTask(),
            model=model,
            plain=model,
            batches=iter(()),
            optimizer=torch.optim.SGD(model.parameters()),
            schedule=Schedule(),
            precision=precision,
            device=CPU,
        )


def test_steps_that_are_left_out_are_logged_and_saved_as_others():
    lines, saved = [], []
    data = [batch(1), batch(2, factor=float("nan"))]
    run = trainer(data, on_nonfinite="skip", log_freq=2, save_every=4, report=lines.append)
    run.save = lambda: saved.append(run.progress.global_step)
    run.epoch(10)
    assert [line["step"] for line in lines] == [1, 3, 5, 7, 9]
    assert lines[0]["batch_loss"] is None
    assert saved == [4, 8]


def test_a_process_whose_first_batch_is_empty_looks_ahead():
    """It takes part with a later batch, which is not lost; a bad one is never taken for that."""
    run = trainer([batch(skipped=["x"]), batch(skipped=["y"]), batch(5)])
    first = next(run.batches)
    assert run._stand_in([first])["question_id"] == ["id5"]
    assert [m.number for m in run._ahead] == [1, 2]
    run._filler = None
    bad = trainer([batch(2, factor=float("nan"))], on_nonfinite="skip")
    bad.epoch(1)
    assert bad._filler is None
    with pytest.raises(ConfigError, match=r"first 50 batches have no usable clip"):
        trainer([batch(skipped=["x"])])._stand_in([])


def test_a_gradient_that_is_not_finite_is_found_behind_a_finite_loss():
    run = trainer([batch(1)])
    run.model.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteLossError, match="norm of the gradient"):
        run.epoch(1)


def test_a_batch_that_does_not_fit_is_named_with_its_size_and_what_to_lower():
    data = [batch(1), batch(2, 3, memory=True)]
    with pytest.raises(OutOfMemoryBatchError, match=r"2 questions.*id2, id3.*batch_size_train"):
        trainer(data).epoch(2)
    stats = trainer(data, on_out_of_memory="skip").epoch(4)
    assert (stats.steps, stats.left_out) == (2, 2)
    with pytest.raises(ConfigError, match="needs a single process"):
        trainer(data, on_out_of_memory="skip", world=World(0, 2))


def test_other_errors_stay_what_they_are():
    run = trainer([batch(1)])
    run.task.train_step = lambda model, samples: (_ for _ in ()).throw(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run.epoch(1)


def test_being_told_to_stop_saves_before_the_next_step():
    saved, asked = [], itertools.count()
    run = trainer([batch(1)], stop=lambda: next(asked) == 3)
    run.save = lambda: saved.append((run.progress.step, run.progress.micros))
    with pytest.raises(Preempted):
        run.epoch(9)
    assert saved == [(3, 3)]


def test_a_data_worker_that_dies_of_the_same_signal_costs_no_step():
    """Killed by name or by Slurm, the workers may go first; what is done is saved all the same."""
    saved, told = [], []
    run = trainer([batch(1)], stop=lambda: bool(told))
    run.save = lambda: saved.append((run.progress.step, run.progress.micros))
    given = run.batches

    def dying(signalled):
        yield from itertools.islice(given, 2)
        told.extend([True] * signalled)
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    run.batches = dying(signalled=True)
    with pytest.raises(Preempted):
        run.epoch(9)
    assert saved == [(2, 2)]
    told.clear()
    run.batches = dying(signalled=False)
    with pytest.raises(DataWorkerError, match="killed by signal: Terminated"):
        run.epoch(9)


def test_it_is_saved_every_so_many_steps_but_not_twice_at_the_end():
    saved = []
    run = trainer([batch(1)], save_every=2)
    run.save = lambda: saved.append(run.progress.global_step)
    run.epoch(6)
    assert saved == [2, 4]


def test_waiting_for_data_is_told():
    """By a clock of the test's: a batch takes three seconds, a step one."""
    now, lines = [0.0], []
    clock = RunTime(clock=lambda: now[0])
    run = trainer([batch(1)], log_freq=1, report=lines.append, run_time=clock)
    quick, learn = run.batches, run._learn

    def slow():
        for micro in quick:
            now[0] += 3
            yield micro

    def work(*args):
        now[0] += 1
        return learn(*args)

    run.batches, run._learn = slow(), work
    assert run.epoch(3).summary()["data_wait"] == 0.75
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert [line["seconds"] for line in lines] == [4, 8, 12]
    assert {line["data_wait"] for line in lines} == {0.75}
    assert {"grad_norm", "lr_by_group", "memory_gib", "audio_s_per_s"} <= lines[0].keys()


class Ticking:
    """A clock that goes on by `step_s` with each batch."""

    def __init__(self, run, step_s):
        self.seconds, quick = 0.0, run.batches

        def slow():
            for micro in quick:
                self.seconds += step_s
                yield micro

        run.batches = slow()

    def __call__(self):
        return self.seconds


def by_time(limit_s, step_s=3.0, before=0.0, **changes):
    """A trainer whose steps take `step_s`, its clock, and what it reports."""
    lines, clock = [], []
    run_time = RunTime(limit_s, before, lambda: clock[0]() if clock else 0.0)
    run = trainer([batch(1)], run_time=run_time, report=lines.append, **changes)
    clock.append(Ticking(run, step_s))
    return run, lines


def test_no_step_begins_when_the_time_is_over(caplog):
    caplog.set_level(logging.INFO)
    run, lines = by_time(10.0, log_freq=2)
    spent = []
    run.schedule.step = lambda cur_epoch, cur_step: spent.append(run.schedule.spent)
    run.epoch(100)
    assert spent == pytest.approx([0.3, 0.6, 0.9])  # the fourth step would begin behind 12 s
    assert run.progress.step == run.progress.micros == 3
    assert [line["step"] for line in lines] == [1, 2]  # the last one is reported too
    assert "ends in epoch 0 after step 3 of 100" in caplog.text
    run.epoch(100)
    assert run.progress.step == 3


def test_time_that_was_counted_before_an_interruption_counts():
    run, _ = by_time(10.0, before=5.0)
    run.epoch(100)
    assert run.progress.step == 1
    assert run.run_time.now() == 11.0


def test_steps_that_end_before_the_time_are_a_whole_epoch():
    run, _ = by_time(10.0)
    assert run.epoch(3).steps == 3
    assert not run.run_time.is_over


class Another(World):
    """The second of two processes; the first one's clock is far ahead."""

    def gather(self, value):
        return [[], value]

    def gather_numbers(self, numbers):
        return [[numbers[0], 10.0, *numbers[2:]], list(numbers)]


def test_the_clock_of_the_first_process_counts():
    run, _ = by_time(10.0, step_s=0.0, world=Another(1, 2), rank=1, size=2)
    assert run.epoch(100).steps == 0
    assert run.run_time.is_over


def test_the_recent_loss_is_of_the_last_steps_also_of_the_epoch_before():
    run, lines = by_time(None, log_freq=1)
    first = run.epoch(RECENT).loss_sum
    run.progress.begin_epoch(1)
    run.epoch(2)
    told = [line["batch_loss"] for line in lines]
    assert lines[RECENT - 1]["recent_loss"] == pytest.approx(first / RECENT)
    assert lines[-1]["recent_loss"] == pytest.approx(sum(told[-RECENT:]) / RECENT)
    assert lines[-1]["loss"] == pytest.approx(sum(told[-2:]) / 2)


def test_the_first_step_is_told_at_once(caplog):
    caplog.set_level(logging.INFO)
    run, lines = by_time(None, log_freq=3)
    run.epoch(6)
    steps = [text.split("  ")[0] for text in caplog.messages if "step" in text]
    assert steps == [f"epoch 0 step {number}/6" for number in (1, 3, 6)]
    assert [line["step"] for line in lines] == [2, 5]
    assert caplog.messages[0].endswith("ETA ?")
    assert caplog.messages[1].endswith("ETA 0:09")


def test_nested_batches_move_whole():
    moved = to_device({"a": [torch.zeros(1), "text"], "b": {"c": torch.ones(1)}}, "meta")
    assert moved["a"][0].device.type == moved["b"]["c"].device.type == "meta"
    assert moved["a"][1] == "text"
