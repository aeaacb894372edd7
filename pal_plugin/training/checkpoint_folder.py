"""Checkpoints on disk: list them, verify them, read the run's progress.

`state.json` holds size and CRC of every file, so a checkpoint damaged later is detected, logged and
skipped. Weights are not read here, so `pal run` does not import torch.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from pathlib import Path
from typing import Any

from pal_plugin.utils.errors import ConfigError

FOLDER, STATE = "checkpoints", "state.json"
_NAME = re.compile(r"step-(\d+)$")


def newest(run_dir: Path, *, check: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """The newest intact checkpoint and its state; damaged ones are logged.

    Args:
        check: verify size and CRC of all files.
    """
    for path in steps_in(run_dir / FOLDER):
        try:
            return path, read(path, check=check)
        except ConfigError as error:
            logging.warning("%s; trying the next older checkpoint", error)
    return None


def read(path: Path, *, check: bool = True) -> dict[str, Any]:
    """The state of a checkpoint whose files are as they were written.

    Args:
        check: verify size and CRC of all files.

    Raises:
        ConfigError: the checkpoint is incomplete or damaged; names the file and the reason.
    """
    try:
        state = json.loads((path / STATE).read_text("utf-8"))
        files = state.pop("files")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"the checkpoint {path} has no readable {STATE}") from error
    for name, facts in files.items() if check else ():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != facts["bytes"]:
            raise ConfigError(
                f"the checkpoint {path} is damaged: {name} has "
                f"{'no file' if found is None else f'{found} bytes'}, expected {facts['bytes']}"
            )
        if file_facts(file) != facts:
            raise ConfigError(f"the checkpoint {path} is damaged: {name} was changed on the disk")
    return state


def steps_in(folder: Path) -> list[Path]:
    """Checkpoint folders `step-N`, newest first."""
    found = [path for path in folder.glob("step-*") if _NAME.search(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(_NAME.search(path.name)[1]), reverse=True)


def file_facts(path: Path) -> dict[str, Any]:
    """Size in bytes and CRC-32 of a file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**22):
            crc = zlib.crc32(block, crc)
    return {"bytes": path.stat().st_size, "crc32": crc}
