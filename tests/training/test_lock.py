"""A run folder has one user at a time."""

import pytest

from pal_plugin.training.lock import RunLock, in_use
from pal_plugin.utils.errors import ConfigError

from .test_run import make_run


def test_a_run_folder_has_one_user_at_a_time(toy):
    first = make_run(toy.config(), job_id="mine")
    with pytest.raises(ConfigError, match=r"mine is in use by process \d+ on .*--job-id"):
        make_run(toy.config("run.resume=auto"), job_id="mine")
    first.train()
    make_run(toy.config("run.resume=auto"), job_id="mine")


def test_a_folder_is_in_use_until_it_is_released(tmp_path):
    assert not in_use(tmp_path)
    lock = RunLock(tmp_path)
    assert in_use(tmp_path)
    lock.release()
    assert not in_use(tmp_path)
    assert not (tmp_path / ".lock.holder").exists()
