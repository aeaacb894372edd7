"""What the package needs, what of it is installed, and what each part of the rest is for.

The requirements are read from the package's own metadata, so that they stand in setup.py alone.
This module runs where nothing of it is installed.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

#: The distribution.
PACKAGE = "pal-plugin"
#: Extras of setup.py that somebody who trains or evaluates may want, and what for.
EXTRAS = {
    "m4a": "M4A, AAC and other formats of ffmpeg",
    "eval": "F1, mAP and other figures of classification and tagging",
    "captions": "CIDEr-D, FENSE and other scores of captions",
    "demo": "plots of data and results",
    "speech": "clips of pal_spoken",
    "watch": "TensorBoard",
    "lavis": "LAVIS as a host, beside salesforce-lavis itself",
}
#: What else may be wanted: the distribution, what for, and how to get it where that is not pip.
OTHERS = (
    ("salesforce-lavis", "LAVIS as a host", "pip install --no-deps salesforce-lavis==1.0.2"),
    ("pycocoevalcap", "BLEU, CIDEr, METEOR and SPICE of captions", "pip install pycocoevalcap"),
    ("bitsandbytes", "model.llm.quantize", "pip install bitsandbytes"),
    ("tinysoundfont", "clips of pal_notes", "pip install tinysoundfont"),
    ("wandb", "run.wandb", "pip install wandb"),
)
#: Programs: what for, and how to get them.
PROGRAMS = (
    ("java", "METEOR, SPICE and the PTB tokenizer of captions", "install a Java runtime (JRE)"),
    ("ffmpeg", "nothing here, PyAV brings its own; to repair files by hand", "ffmpeg.org"),
    ("torchrun", "many processes on one machine", "it comes with torch"),
)


@dataclass(frozen=True)
class Need:
    """Something that may be installed.

    Attributes:
        name: of the distribution, or the program.
        version: what is installed (of a program where it is), None: nothing.
        wanted: the versions that are, as in `>=2.6,<2.12`; empty: any.
        fits: whether what is installed is among them.
        purpose: what it is for.
        remedy: how to get it.
    """

    name: str
    version: str | None
    wanted: str
    fits: bool
    purpose: str
    remedy: str


def core() -> list[Need]:
    """What the package cannot do without; empty where its metadata is not there."""
    return list(_requirements(None))


def optional() -> list[Need]:
    """What single features need."""
    found = [need for extra in EXTRAS for need in _requirements(extra)]
    for name, purpose, remedy in OTHERS:
        version = version_of(name)
        found.append(Need(name, version, "", version is not None, purpose, remedy))
    for name, purpose, remedy in PROGRAMS:
        place = shutil.which(name)
        found.append(Need(name, place, "", place is not None, purpose, remedy))
    return found


def version_of(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(extra: str | None) -> Iterator[Need]:
    """Those of an extra that are no core ones, or the core ones."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # itself a requirement: nothing can be compared without it
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
