"""Ctrl-C in the middle of a C library's callback is not lost, and not taken for damaged data."""

import io
import signal
import threading

import pytest

from pal_plugin.audio import sndfile
from pal_plugin.clips import clip
from pal_plugin.utils.interrupts import held_interrupts


@pytest.fixture
def ctrl_c():
    """Python's own handler, which a process in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_comes_at_the_end_in_place_of_what_it_broke(ctrl_c):
    done = []

    @held_interrupts()
    def work():
        signal.raise_signal(signal.SIGINT)
        done.append(True)
        raise ValueError("damaged")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with held_interrupts():
        pass


def test_a_handler_of_its_own_stays():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(True))
    try:
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            assert seen
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_signals():
    done = []

    def work():
        with held_interrupts():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_ctrl_c_while_a_file_is_read_is_not_a_damaged_file(ctrl_c, monkeypatch, capfd):
    class Pressed(io.BytesIO):
        def readinto(self, buffer):
            signal.raise_signal(signal.SIGINT)
            return super().readinto(buffer)

    monkeypatch.setattr(sndfile, "_File", Pressed)
    with pytest.raises(KeyboardInterrupt):
        sndfile.decode(clip("dog").read_bytes())
    assert "Exception ignored" not in capfd.readouterr().err
