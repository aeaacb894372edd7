"""What is said where the weights or the state of a run cannot be written."""

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
    """A checkpoint could not be written; what there was before is as it was."""


@contextmanager
def save_errors(target: Path, run_dir: Path, needed: int = 0) -> Iterator[None]:
    """Errors of the disk inside the block become `SaveError`, others stay what they are.

    Args:
        target: what is written.
        run_dir: the run folder.
        needed: bytes that it takes at least; 0: not known.
    """
    try:
        yield
    except SaveError:
        raise
    except (OSError, SafetensorError) as error:
        raise SaveError(_told(target, run_dir, error, needed)) from error


def _told(target: Path, run_dir: Path, error: Exception, needed: int) -> str:
    full = getattr(error, "errno", None) in _FULL or "os error 28" in str(error)
    told = [f"{target} could not be written ({error})."]
    if full:
        free = shutil.disk_usage(run_dir).free
        before = [_size(path) for path in steps_in(run_dir / FOLDER)[:1]]
        least = max([needed, *(before if target.parent.name == FOLDER else [])])
        if least:
            told.append(f"It takes about {_megabytes(least)}; {_megabytes(free)} are free.")
    remedy = "Make room" if full else "Repair that"
    kept = steps_in(run_dir / FOLDER)
    if kept:
        told.append(f"{kept[0].name} is whole. {remedy}, then go on with --resume auto")
    else:
        told.append(f"Nothing of this run was saved before. {remedy}, then start it again")
    return " ".join(told)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
