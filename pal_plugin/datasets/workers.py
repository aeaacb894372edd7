"""What a process that reads data does about signals: it lives and dies with its trainer."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading


def start(_: int) -> None:
    """`worker_init_fn` of a DataLoader.

    torchrun and Slurm send SIGTERM to everybody, and a worker that dies of it would take the
    trainer along before it has saved; only the trainer's own SIGTERM counts. Killed with SIGKILL a
    trainer cannot tell its workers, so Linux is asked to end them with it.
    """
    if not sys.platform.startswith("linux"):
        return
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_the_trainer_says, args=(os.getppid(),), daemon=True).start()


def end_with_parent(number: int) -> None:
    """Ask Linux to send this process a signal when its parent dies."""
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_death_signal, number)


def _end_when_the_trainer_says(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
