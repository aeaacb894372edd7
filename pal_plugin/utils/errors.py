"""Errors that the user can fix, and the exit codes of commands."""

from pathlib import Path

#: Exit codes: done; stopped by a UserError; stopped from the keyboard.
DONE, FAILED, INTERRUPTED = 0, 2, 130
#: Preempted with the state saved: "try again" (EX_TEMPFAIL of sysexits.h).
PREEMPTED = 75
#: As a shell reports SIGPIPE: the reader of stdout had ended.
UNREAD = 141


class UserError(Exception):
    """Printed without a traceback; its message says what was expected, what came, what to do."""


class ConfigError(UserError, ValueError):
    """An invalid configuration, checkpoint or dataset description."""


#: What libraries raise for sizes that are valid one by one but do not fit together.
SIZES_DO_NOT_FIT = (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError)


class Preempted(Exception):
    """The run in `folder` was stopped by a signal; its state is saved."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
