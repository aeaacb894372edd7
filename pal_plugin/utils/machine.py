"""The machine: cores, memory, GPUs, and the folders of caches and data."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from pal_plugin.utils.locations import cache_folder, weights_folder

GB = 1e9


def computer() -> list[tuple[str, str]]:
    """Names and values: system, Python, usable cores, memory, GPUs."""
    facts = [
        ("system", platform.platform()),
        ("python", platform.python_version()),
        ("cores", str(_cores())),
        ("memory", _memory()),
    ]
    return facts + [("GPU", gpu) for gpu in _gpus()]


def folders() -> list[tuple[str, str, str]]:
    """Contents, location and size, and the variable that sets it, of each folder."""
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or hub / "hub")
    data = os.environ.get("PAL_DATA")
    rows = [
        ("weights", weights_folder(), "set by PAL_CACHE"),
        ("encoder states", cache_folder() / "encoder_states", "set by PAL_CACHE"),
        ("Hugging Face hub", hub, "set by HF_HOME"),
    ]
    caches = [(what, f"{path} ({_size(path)})", how) for what, path, how in rows]
    place = f"{data} ({'a folder' if Path(data).is_dir() else 'no folder'})" if data else "-"
    return [*caches, ("data", place, "set by PAL_DATA; recipes of public datasets need it")]


def cached_weights() -> list[str]:
    """Names of models from `pal weights get`, and of those in the hub's cache."""
    own = [f"weights://{path.name}" for path in _entries(weights_folder())]
    hub = (
        os.environ.get("HF_HUB_CACHE") or f"{os.environ.get('HF_HOME', '~/.cache/huggingface')}/hub"
    )
    fetched = [path.name for path in _entries(Path(hub).expanduser())]
    return own + [
        name.removeprefix("models--").replace("--", "/")
        for name in fetched
        if name.startswith("models--")
    ]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GB:.1f} GB"
    except (AttributeError, OSError, ValueError):  # not POSIX
        return "unknown"


def _gpus() -> Iterator[str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield f"unknown: torch cannot be imported ({error})"
        return
    if not torch.cuda.is_available():
        built = "CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU only"
        yield f"none visible to torch (built for {built})"
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} {facts.name}, {facts.total_memory / 2**30:.1f} GiB"


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "does not exist"
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{sum(path.stat().st_size for path in files) / GB:.2f} GB"
