"""Pretrained files by name: a local path, or a repository of the Hugging Face hub.

Design choice: only the files that are asked for are fetched, into the hub's own cache; whatever
goes wrong ends in one error that says how to get the files by hand.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pal_plugin.utils.errors import UserError

#: Configuration and weights of one model; other precisions and formats stay where they are.
CONFIG = ["config.json"]
SAFETENSORS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]
TORCH_FILES = ["pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf", ".json", ".yaml")


class HubError(UserError, ValueError):
    """Files that could not be had; the message says why, and how to get them."""


def is_hub_id(name: str) -> bool:
    """Whether `name` reads like `owner/name` and not like a path or a file."""
    return bool(_HUB_ID.fullmatch(name)) and not name.endswith(_FILE_ENDINGS)


def snapshot(name: str, patterns: list[str]) -> Path:
    """The local path of `name`: itself where it exists, else the hub's files that fit `patterns`.

    Args:
        name: a path (`~` is expanded), or `owner/name` of the hub.
        patterns: names of files with `*`, as `allow_patterns` of huggingface_hub takes them.

    Returns:
        The path given, or the folder in the hub's cache (`HF_HOME`) that holds the files.

    Raises:
        HubError: no such path and no hub id, or the download failed (offline, gated, not there).
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not is_hub_id(name):
        raise HubError(
            f"{name!r} is no existing path and no hub id of the form owner/name; "
            "check the path, or give the full id, such as openai/whisper-small"
        )
    return _fetched(name, patterns)


def download(name: str, patterns: list[str], folder: Path) -> None:
    """Put the files of `owner/name` that fit `patterns` into `folder` itself.

    Raises:
        HubError: as `snapshot`, and where no weights are among them.
    """
    _fetched(name, patterns, local_dir=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # what the hub's client notes there
    if not any(folder.glob("*.safetensors")):
        raise HubError(f"{name!r} on the hub has none of {', '.join(patterns)}. {by_hand(name)}")


def _fetched(name: str, patterns: list[str], **place: Path) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns, **place))
    except GatedRepoError as error:
        raise HubError(
            f"{name!r} is gated on the Hugging Face hub: accept its terms on its page there, then "
            f"log in with `hf auth login`. {by_hand(name)}"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{name!r} is no existing path and not on the Hugging Face hub; check the spelling. "
            f"A private repository needs `hf auth login`. {by_hand(name)}"
        ) from error
    # Its client raises errors of several libraries: sockets, HTTP, the cache, the disk.
    except Exception as error:
        raise HubError(
            f"cannot fetch {name!r} from the Hugging Face hub, and its files are not in the cache: "
            f"{_reason(error)} {by_hand(name)}"
        ) from error


def fetch(name: str | Path, config: list[str] = CONFIG) -> Path:
    """Where the configuration and weights of `name` are; safetensors are preferred.

    A path is returned as it is, also where nothing is there: its reader says what it expects.

    Args:
        config: patterns of the files that are wanted besides the weights.

    Raises:
        HubError: as `snapshot`, and where a repository has neither kind of weights.
    """
    path = Path(name).expanduser()
    if path.exists() or not is_hub_id(str(name)):
        return path
    for patterns, ending in ((SAFETENSORS, "*.safetensors"), (TORCH_FILES, "*.bin")):
        path = snapshot(str(name), config + patterns)
        if any(path.glob(ending)):
            return path
    raise HubError(
        f"no model.safetensors and no pytorch_model.bin of {name!r} is on the hub or in the cache. "
        f"If its weights have another name, `hf download {name} FILE --local-dir DIR` and give "
        "DIR/FILE in place of the id"
    )


def by_hand(name: str) -> str:
    """How to get the files of a hub id without this package, as the end of a message."""
    return (
        f"Where there is a connection, `hf download {name} --local-dir DIR`; then give DIR in "
        "place of the id (for an encoder, `checkpoint: DIR`)."
    )


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith(".") else line + "."
