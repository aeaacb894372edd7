"""Facts about the machine for all benchmarks, and types of their arguments."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
from collections.abc import Callable

import torch

import pal_plugin
from pal_plugin.utils.runtime import usable_cores

#: Marks the results of a rehearsal.
REHEARSAL = "A rehearsal with tiny shapes: nothing here is a figure."


def device(kind: str) -> dict:
    """Facts about the machine; kind is "cpu", "cuda" or "meta"."""
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(0)
        name, facts = properties.name, {"memory_bytes": properties.total_memory}
    elif kind == "cpu":
        name, facts = "cpu", {"processor": platform.processor() or platform.machine()}
        facts |= {"cores": usable_cores(), "threads": torch.get_num_threads()}
    else:
        name, facts = "meta", {}
    return {"type": kind, "name": name, **facts}


def versions() -> dict[str, str]:
    """Versions of the packages that affect results."""
    packages = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "peft")}
    cuda = {"cuda": torch.version.cuda} if torch.cuda.is_available() else {}
    own = {"pal_plugin": pal_plugin.__version__, "python": platform.python_version()}
    return own | packages | cuda


def slug(name: str) -> str:
    """A name in a form for file names."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: integers from `least` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a number from {least} on, got {text!r}")
        return value

    return parse
