"""Errors for weights or state that cannot be written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from pal_plugin.training.checkpoint_folder import FOLDER, steps_in
from pal_plugin.utils.errors import UserError

#: Codes of a full disk and of a full quota.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class SaveError(UserError, OSError):
    """A checkpoint could not be written; earlier ones are intact."""


@contextmanager
def save_errors(target: Path, run_dir: Path, needed: int = 0) -> Iterator[None]:
    """Turn disk errors inside the block into `SaveError`; others pass through.

    Args:
        target: the file or folder being written.
        run_dir: the run folder.
        needed: minimum size in bytes; 0: unknown.

    Raises:
        SaveError: a write failed.
    """
    try:
        yield
    except SaveError:
        raise
    except (OSError, SafetensorError) as error:
        raise SaveError(_message(target, run_dir, error, needed)) from error


def _message(target: Path, run_dir: Path, error: Exception, needed: int) -> str:
    full = getattr(error, "errno", None) in _FULL or "os error 28" in str(error)
    sentences = [f"cannot write {target} ({error})."]
    if full:
        free = shutil.disk_usage(run_dir).free
        before = [_size(path) for path in steps_in(run_dir / FOLDER)[:1]]
        least = max([needed, *(before if target.parent.name == FOLDER else [])])
        if least:
            sentences.append(f"It needs about {_megabytes(least)}; {_megabytes(free)} are free.")
    remedy = "Free disk space" if full else "Fix this"
    kept = steps_in(run_dir / FOLDER)
    if kept:
        sentences.append(f"{kept[0].name} is intact. {remedy}, then resume with --resume auto")
    else:
        sentences.append(f"This run has no earlier checkpoint. {remedy}, then start it again")
    return " ".join(sentences)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
