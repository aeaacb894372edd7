"""Required and optional packages, and which of them are installed.

The requirements are read from the package's metadata, so that they are listed in setup.py only.
This module works without any of them installed.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

#: Name of the distribution.
PACKAGE = "pal-plugin"
#: Extras of setup.py for users, and their purpose.
EXTRAS = {
    "m4a": "M4A, AAC and other formats of ffmpeg",
    "eval": "F1, mAP and other metrics of classification and tagging",
    "captions": "CIDEr-D, FENSE and other scores of captions",
    "demo": "plots of data and results",
    "speech": "clips of pal_spoken",
    "serve": "pal serve",
    "page": "the page of pal serve",
    "watch": "TensorBoard",
    "lavis": "LAVIS as a host, beside salesforce-lavis itself",
}
#: Further optional distributions: purpose, and how to get them.
OTHERS = (
    ("salesforce-lavis", "LAVIS as a host", "pip install --no-deps salesforce-lavis==1.0.2"),
    ("pycocoevalcap", "BLEU, CIDEr, METEOR and SPICE of captions", "pip install pycocoevalcap"),
    ("bitsandbytes", "model.llm.quantize", "pip install bitsandbytes"),
    ("tinysoundfont", "clips of pal_notes", "pip install tinysoundfont"),
    ("wandb", "run.wandb", "pip install wandb"),
)
#: Optional programs: purpose, and how to get them.
PROGRAMS = (
    ("java", "METEOR, SPICE and the PTB tokenizer of captions", "install a Java runtime (JRE)"),
    ("ffmpeg", "not used (PyAV includes it); to repair files manually", "ffmpeg.org"),
    ("torchrun", "several processes on one host", "it comes with torch"),
)


@dataclass(frozen=True)
class Need:
    """A required or optional distribution or program.

    Attributes:
        name: of the distribution or program.
        version: installed version (path of a program); None: not installed.
        wanted: accepted versions, such as `>=2.6,<2.12`; empty: any.
        fits: whether an accepted version is installed.
        purpose: what it is used for.
        remedy: how to get it.
    """

    name: str
    version: str | None
    wanted: str
    fits: bool
    purpose: str
    remedy: str


def core() -> list[Need]:
    """Required distributions; empty if the package's metadata is not installed."""
    return list(_requirements(None))


def optional() -> list[Need]:
    """Distributions and programs that single features need."""
    found = [need for extra in EXTRAS for need in _requirements(extra)]
    for name, purpose, remedy in OTHERS:
        version = version_of(name)
        found.append(Need(name, version, "", version is not None, purpose, remedy))
    for name, purpose, remedy in PROGRAMS:
        place = shutil.which(name)
        found.append(Need(name, place, "", place is not None, purpose, remedy))
    return found


def version_of(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(extra: str | None) -> Iterator[Need]:
    """The additional requirements of an extra; None: the core ones."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # itself a requirement; needed to compare versions
        version, remedy = version_of("packaging"), "pip install packaging"
        if extra is None:
            yield Need("packaging", version, "", False, "this package", remedy)
        return
    try:
        lines = importlib.metadata.requires(PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always != (extra is None) or not (always or marker.evaluate({"extra": extra})):
            continue
        version = version_of(requirement.name)
        wanted = f"{PACKAGE}[{extra}]" if extra else f"{requirement.name}{requirement.specifier}"
        yield Need(
            requirement.name,
            version,
            str(requirement.specifier),
            version is not None and requirement.specifier.contains(version, prereleases=True),
            EXTRAS.get(extra, "this package"),
            f"pip install '{wanted}'",
        )
