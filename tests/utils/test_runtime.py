"""What is shown while something takes long, on a terminal and without one."""

import logging
import sys

import pytest
from tqdm import tqdm

from pal_plugin.utils import runtime


@pytest.fixture
def terminal(monkeypatch, caplog):
    """`terminal(True)` is one, `terminal(False)` a file."""
    caplog.set_level(logging.INFO)
    return lambda there: monkeypatch.setattr(sys.stderr, "isatty", lambda: there, raising=False)


def counted(caplog, seconds, monkeypatch, **how):
    monkeypatch.setattr(runtime, "_LINE_S", seconds)
    with runtime.progress_bar(6, "evaluating val", "clip", lines=True, **how) as bar:
        for _ in range(3):
            bar.update(2)
    return [text.split(" in ")[0] for text in caplog.messages]


def test_without_a_terminal_there_are_lines(terminal, caplog, monkeypatch):
    terminal(False)
    lines = counted(caplog, 0.0, monkeypatch)
    assert lines[0] == "evaluating val: 0 of 6 clips"
    assert lines[1:4] == [f"evaluating val: {n} of 6 clips" for n in (2, 4, 6)]
    assert lines[-1] == "evaluating val: 6 of 6 clips"
    assert "ETA" in caplog.text


def test_what_is_over_before_the_next_line_has_two(terminal, caplog, monkeypatch):
    terminal(False)
    lines = counted(caplog, 1e9, monkeypatch)
    assert lines == ["evaluating val: 0 of 6 clips", "evaluating val: 6 of 6 clips"]


def test_other_processes_and_a_terminal_write_no_lines(terminal, caplog, monkeypatch):
    terminal(False)
    assert counted(caplog, 0.0, monkeypatch, shown=False) == []
    terminal(True)
    assert counted(caplog, 0.0, monkeypatch) == []
    bar = runtime.progress_bar(6, "train", "step")
    assert type(bar) is tqdm
    assert not bar.disable
    bar.close()


def test_a_total_that_is_not_known(terminal, caplog, monkeypatch):
    terminal(False)
    with runtime.progress_bar(None, "evaluating val", "clip", lines=True):
        pass
    assert caplog.messages[0].startswith("evaluating val: 0 of ? clips")


@pytest.mark.parametrize(
    ("seconds", "told"), [(5, "0:05"), (245.4, "4:05"), (3845, "1:04:05"), (None, "?")]
)
def test_a_duration_as_people_read_it(seconds, told):
    assert runtime.duration(seconds) == told


def test_each_part_of_a_start_is_told_when_it_begins(caplog):
    caplog.set_level(logging.INFO)
    clock = runtime.Clock()
    with clock.counted("model"):
        assert caplog.messages == ["starting: model"]
    assert " s (model " in str(clock)
