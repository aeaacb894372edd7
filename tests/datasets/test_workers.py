"""A data worker that dies is told in one way, wherever it is noticed; other errors stay."""

import signal
import threading

import pytest
import torch

from pal_plugin.commands.main import guarded
from pal_plugin.datasets import workers
from pal_plugin.evaluation.loop import evaluate
from pal_plugin.training.streams import MicroBatch
from pal_plugin.training.trainer import Trainer
from pal_plugin.utils.precision import Precision

CPU = torch.device("cpu")
#: What torch's loader raises, by where the death is noticed first.
DEATHS = [
    RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
    RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly"),
    RuntimeError("Pin memory thread exited unexpectedly"),
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionRefusedError(111, "Connection refused"),
    BrokenPipeError(32, "Broken pipe"),
    EOFError(),
]
BATCH = {"text_input": ["a"], "question_id": ["a"], "num_clips": 1}


class Task:
    def __init__(self, error=None):
        self.error, self.asked = error, 0

    def train_step(self, model, samples):
        self.asked += 1
        if self.error:
            raise self.error
        return model(torch.ones(1, 2)).mean()

    def valid_step(self, model, samples):
        self.asked += 1
        if self.error:
            raise self.error
        return [{"id": "a"}]


def train(task, batches):
    model = torch.nn.Linear(2, 1)
    Trainer(
        task=task,
        model=model,
        plain=model,
        batches=(MicroBatch(n, {"stream": 0, "place": n + 1}, b) for n, b in enumerate(batches)),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        schedule=type("Schedule", (), {"step": lambda self, cur_epoch, cur_step: None})(),
        precision=Precision("none", CPU),
        device=CPU,
    ).epoch(3)


def ask(task, batches):
    model = torch.nn.Linear(2, 1)
    evaluate(
        task=task,
        model=model,
        batches=batches,
        clips=3,
        split="val",
        precision=Precision("none", CPU),
        device=CPU,
    )


def breaks(error):
    """A batch, and then an error."""
    yield dict(BATCH)
    raise error


@pytest.fixture
def sigchld():
    """Telling of a death switches torch's handler off, for a process that ends."""
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("work", [train, ask])
@pytest.mark.parametrize("error", DEATHS, ids=lambda e: f"{type(e).__name__} {e}")
def test_a_death_noticed_where_a_batch_is_fetched(work, error, sigchld):
    task = Task()
    with pytest.raises(workers.DataWorkerError, match="a DataLoader worker died") as told:
        work(task, breaks(error))
    assert (str(error) or "EOFError") in str(told.value)
    assert task.asked == 1


@pytest.mark.parametrize("work", [train, ask])
def test_a_death_noticed_in_another_thread(work):
    """A thread may not change what a signal does; the error is the same."""
    before, told = signal.getsignal(signal.SIGCHLD), []

    def run():
        try:
            work(Task(), breaks(ConnectionResetError(104, "Connection reset by peer")))
        except workers.DataWorkerError as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "Connection reset by peer" in str(told[0])
    assert signal.getsignal(signal.SIGCHLD) == before


@pytest.mark.parametrize("work", [train, ask])
@pytest.mark.parametrize("error", [ConnectionResetError("of the model"), EOFError("of the model")])
def test_a_step_that_fails_is_no_death(work, error):
    with pytest.raises(type(error), match="of the model"):
        work(Task(error), iter([dict(BATCH)]))


@pytest.mark.parametrize("work", [train, ask])
@pytest.mark.parametrize("kind", [RuntimeError, ConnectionResetError])
def test_an_error_that_a_worker_tells_of_is_no_death(work, kind):
    """torch wraps it in a text that names the worker."""
    error = kind(f"Caught {kind.__name__} in DataLoader worker process 0.\nOriginal Traceback ...")
    with pytest.raises(kind, match="Caught") as kept:
        work(Task(), breaks(error))
    assert kept.value is error


@pytest.mark.parametrize("error", DEATHS[:3], ids=str)
def test_a_death_noticed_anywhere_else_is_a_users_error(error, sigchld, capsys):
    """torch raises it from a signal, so that it may come out of any line of a run."""

    @workers.dead_workers_named()
    def run():
        raise error

    assert guarded(run) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: a DataLoader worker died (")
    assert "--resume auto" in told


def test_batches_end_where_their_stream_ends():
    assert list(workers.fetched([1, None, 2])) == [1, None, 2]
    with pytest.raises(StopIteration):
        workers.fetch(iter(()))
