"""Errors that are the user's to repair, and the exit code of each way a command ends."""

from pathlib import Path

#: Exit codes: done; stopped by a UserError; stopped from the keyboard.
DONE, FAILED, INTERRUPTED = 0, 2, 130
#: Told to stop, with everything saved: "try again" (sysexits.h).
PREEMPTED = 75
#: As a shell tells of SIGPIPE: what was printed went to a program that had ended.
UNREAD = 141


class UserError(Exception):
    """Its message says what was expected, what came and what to do: printed without a traceback."""


class ConfigError(UserError, ValueError):
    """A configuration, a checkpoint name or a dataset's description that cannot be used."""


#: What libraries raise where sizes that are right each for itself do not go together.
SIZES_DO_NOT_FIT = (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError)


class Preempted(Exception):
    """The run in a folder was told to stop, and its state is saved."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a run wrote into a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
