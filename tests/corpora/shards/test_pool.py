"""Worker processes that cannot be started or die: an error, and nothing left behind."""

import itertools
import subprocess

import pytest

from pal_plugin.corpora.shards import pool
from pal_plugin.corpora.shards.convert import convert
from pal_plugin.corpora.shards.reading import find_shards
from pal_plugin.corpora.shards.verify import verify
from pal_plugin.utils.errors import ConfigError


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

        monkeypatch.setattr(pool.subprocess, "Popen", popen)
        return started

    return follow


def run(folder, annotations, out, workers=2):
    options = {"shard_clips": 1, "workers": workers, "progress": False}
    return convert("own", folder, [annotations], out, **options)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_cannot_be_started(write_own, good, tmp_path, processes, failing):
    folder, annotations = write_own(good)
    started = processes(refused=failing)
    with pytest.raises(ConfigError, match="cannot start a worker process: .*fewer --workers"):
        run(folder, annotations, tmp_path / "out")
    assert all(process.poll() is not None for process in started)
    assert not list((tmp_path / "out").glob(".*"))
    assert not (tmp_path / "out" / "index.json").exists()
    assert run(folder, annotations, tmp_path / "out", workers=1)["clips"] == 7
    assert verify(find_shards(tmp_path / "out")) == []


def test_a_process_that_dies(write_own, good, tmp_path, processes):
    folder, annotations = write_own(good)
    started = processes(killed=0)
    with pytest.raises(RuntimeError, match="a worker ended .*status -9.*the same command goes on"):
        run(folder, annotations, tmp_path / "out")
    assert all(process.poll() is not None for process in started)
    assert run(folder, annotations, tmp_path / "out", workers=1)["clips"] == 7
