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
