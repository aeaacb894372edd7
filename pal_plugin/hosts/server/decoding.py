"""Decodes clips in processes that may die: the request is refused, and the server lives on."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from pal_plugin.audio.errors import AudioError
from pal_plugin.hosts.server.decoding_worker import read_message, write_message

logger = logging.getLogger(__name__)

Clip = tuple[np.ndarray, int]


class DecoderDied(Exception):
    """The process ended before it answered."""


class Decoder:
    """Decodes clips in a few processes, which `start` or their first clip starts; to be called
    from threads.

    Args:
        seconds: time for one clip, after which its process is ended.
        processes: how many clips are decoded at a time.
    """

    def __init__(self, seconds: float, processes: int = 2) -> None:
        self.seconds = seconds
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._all = [_Process() for _ in range(processes)]
        for process in self._all:
            self._idle.put(process)

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        for process in self._all:
            process.start()

    def decode(self, data: bytes) -> Clip:
        """`(samples [S] float32, rate in Hz)` of a file's bytes.

        A process that dies is started anew, and given the clip once more: it may have been another
        program that ended it.

        Raises:
            AudioError: unusable audio, also where it takes too long or kills the decoder twice.
        """
        process = self._idle.get()
        try:
            try:
                return process.decode(data, self.seconds)
            except DecoderDied as death:
                logger.warning("a decoder died (%s); its clip is tried once more", death)
            try:
                return process.decode(data, self.seconds)
            except DecoderDied as death:
                raise AudioError(
                    f"the decoder crashed twice on this clip of {len(data)} bytes ({death}): it is "
                    "damaged; re-encode it"
                ) from death
        finally:
            self._idle.put(process)

    def pids(self) -> list[int]:
        """Ids of the processes that run."""
        return [process.running.pid for process in self._all if process.running is not None]

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.end()


class _Process:
    """One process, which is replaced where it died."""

    def __init__(self) -> None:
        self.running: subprocess.Popen | None = None

    def start(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        paths = filter(None, [root, os.environ.get("PYTHONPATH")])
        # Neither keys nor tokens of the server's environment are there to be read.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.running = subprocess.Popen(
            [sys.executable, "-m", "pal_plugin.hosts.server.decoding_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders complain about each broken frame
            env={**kept, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server, which ends it
        )

    def decode(self, data: bytes, seconds: float) -> Clip:
        if self.running is None:
            self.start()
        process, late = self.running, threading.Event()

        def end_it() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end_it)
        timer.daemon = True
        timer.start()
        try:
            write_message(process.stdin, data)
            answer = json.loads(read_message(process.stdout))
            samples = None if "error" in answer else read_message(process.stdout)
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # for the status that it ends with by itself
            status = self.end()
            if late.is_set():
                raise AudioError(
                    f"decoding a clip of {len(data)} bytes took more than {seconds:g} s; shorten "
                    "or re-encode it"
                ) from error
            raise DecoderDied(_told(status)) from error
        finally:
            timer.cancel()
        if samples is None:
            raise AudioError(answer["error"])
        return np.frombuffer(samples, np.float32), answer["rate_hz"]

    def end(self) -> int | None:
        """End the process; returns its status, None if there is none."""
        process, self.running = self.running, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not written yet
                pipe.close()
        return process.wait()


def _told(status: int | None) -> str:
    with contextlib.suppress(ValueError, TypeError):
        return signal.Signals(-status).name
    return f"status {status}"
