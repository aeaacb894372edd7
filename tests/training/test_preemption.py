"""Being told to stop."""

import os
import signal
import threading

import pytest

from pal_plugin.training.preemption import StopRequest


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_is_noted_and_kills_nobody(name):
    before = signal.getsignal(getattr(signal, name))
    stop = StopRequest()
    assert not stop
    with stop.listening():
        os.kill(os.getpid(), getattr(signal, name))
    assert stop
    assert stop.signal == name
    assert signal.getsignal(getattr(signal, name)) == before


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no such signal here")
def test_behind_a_signal_a_child_that_dies_raises_nothing():
    """torch raises from SIGCHLD, wherever a step is."""

    def raising(*_):
        raise RuntimeError("a worker died")

    before = signal.signal(signal.SIGCHLD, raising)
    try:
        with StopRequest().listening():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_in_another_thread_nothing_changes():
    """Only the main thread may say what a signal does."""
    before, stop = signal.getsignal(signal.SIGTERM), StopRequest()

    def listen():
        with stop.listening() as request:
            found.append((request, signal.getsignal(signal.SIGTERM)))

    found = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [(stop, before)]
