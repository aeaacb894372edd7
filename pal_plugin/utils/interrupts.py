"""Ctrl-C within C libraries."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Holds Ctrl-C back until the block or the decorated function ends.

    For libraries that call Python back from C: there a KeyboardInterrupt is printed and lost, and
    the library takes it for the end of the data. Without effect in other threads than the main one,
    and if Ctrl-C has a handler of its own.

    Raises:
        KeyboardInterrupt: at the end, in place of any error of the block, if Ctrl-C was pressed.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt
