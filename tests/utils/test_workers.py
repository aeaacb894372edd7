"""Worker processes: all jobs are done; one that fails, dies or cannot start is an error."""

import importlib
import itertools
import os
import subprocess
import sys

import pytest

from pal_plugin.utils import workers
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.workers import run_jobs

JOBS = """
import os, sys
from pathlib import Path
from pal_plugin.utils.errors import UserError

class Mistake(UserError):
    pass

def do(job, tick):
    print("said by a library")
    if job.get("kind") == "mistake":
        raise Mistake("the disk is full")
    if job.get("kind") == "bug":
        raise KeyError("bug")
    Path(job["path"]).write_text(f"{os.getpid()} {'lavis' in sys.modules}")
    tick(2)
"""


@pytest.fixture
def do(tmp_path, monkeypatch):
    """A function of a module that workers can import."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "jobs_of_a_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    yield importlib.import_module("jobs_of_a_test").do
    del sys.modules["jobs_of_a_test"]


@pytest.fixture
def processes(monkeypatch):
    """processes(refused=n, killed=n) -> the list of workers; one of them is refused, one killed."""
    real = subprocess.Popen

    def follow(refused=None, killed=None):
        started, numbers = [], itertools.count()  # two threads start them

        def popen(*args, **options):
            number = next(numbers)
            if number == refused:
                raise OSError(11, "Resource temporarily unavailable")
            process = real(*args, **options)
            started.append(process)
            if number == killed:
                process.kill()
            return process

        monkeypatch.setattr(workers.subprocess, "Popen", popen)
        return started

    return follow


def jobs(folder, count=5, **last):
    made = [{"path": str(folder / f"{number}.txt")} for number in range(count)]
    made[-1].update(last)
    return made


@pytest.mark.parametrize("count", [1, 2, 9])
def test_every_job_is_done_and_counted(do, tmp_path, count):
    ticks = []
    run_jobs(do, jobs(tmp_path), count, ticks.append)
    assert sum(ticks) == 10
    told = [path.read_text().split() for path in sorted(tmp_path.glob("*.txt"))]
    assert len(told) == 5
    if count > 1:
        assert str(os.getpid()) not in {number for number, _ in told}
        assert {lavis for _, lavis in told} == {"False"}


def test_no_job_needs_no_process(do, processes):
    started = processes()
    run_jobs(do, [], 4, print)
    assert not started


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_cannot_be_started(do, tmp_path, processes, failing):
    started = processes(refused=failing)
    with pytest.raises(ConfigError, match="cannot start a worker process: .*fewer --workers"):
        run_jobs(do, jobs(tmp_path), 2, lambda clips: None)
    assert all(process.poll() is not None for process in started)


def test_a_process_that_dies_is_named(do, tmp_path, processes):
    started = processes(killed=0)
    told = r"a worker died while writing .*\.txt \(status -9\).*the same command resumes"
    with pytest.raises(RuntimeError, match=told):
        run_jobs(do, jobs(tmp_path), 2, lambda clips: None)
    assert all(process.poll() is not None for process in started)


def test_a_mistake_is_told_as_it_is_and_a_bug_with_its_traceback(do, tmp_path):
    with pytest.raises(ConfigError, match=r"^the disk is full$"):
        run_jobs(do, jobs(tmp_path, kind="mistake"), 2, lambda clips: None)
    with pytest.raises(RuntimeError, match=r"4\.txt: Traceback(.|\n)*KeyError: 'bug'"):
        run_jobs(do, jobs(tmp_path, kind="bug"), 2, lambda clips: None)
    with pytest.raises(KeyError):
        run_jobs(do, jobs(tmp_path, kind="bug"), 1, lambda clips: None)
