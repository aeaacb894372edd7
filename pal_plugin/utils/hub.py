"""Pretrained files by name: a local path, or a repository of the Hugging Face hub.

Design choice: only the requested files are downloaded, into the hub's own cache; any failure ends
in one error that says how to get the files manually.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pal_plugin.utils.errors import UserError

#: Configuration and weights of one model; other precisions and formats are not downloaded.
CONFIG = ["config.json"]
SAFETENSORS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]
TORCH_FILES = ["pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf", ".json", ".yaml")


class HubError(UserError, ValueError):
    """Files that could not be downloaded; the message says why, and how to get them."""


def is_hub_id(name: str) -> bool:
    """Whether `name` looks like `owner/name` and not like a path or a file."""
    return bool(_HUB_ID.fullmatch(name)) and not name.endswith(_FILE_ENDINGS)


def snapshot(name: str, patterns: list[str]) -> Path:
    """The local path of `name`: itself if it exists, else the hub's files that match `patterns`.

    Args:
        name: a path (`~` is expanded), or `owner/name` of the hub.
        patterns: file names with `*`, as `allow_patterns` of huggingface_hub.

    Returns:
        The given path, or the folder in the hub's cache (`HF_HOME`) with the files.

    Raises:
        HubError: neither a path nor a hub id, or the download failed (offline, gated, not found).
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not is_hub_id(name):
        raise HubError(
            f"{name!r} is neither an existing path nor a hub id of the form owner/name; "
            "check the path, or give the full id, such as openai/whisper-small"
        )
    return _fetched(name, patterns)


def download(name: str, patterns: list[str], folder: Path) -> None:
    """Download the files of `owner/name` that match `patterns` into `folder`.

    Raises:
        HubError: as in `snapshot`, or no weights are among them.
    """
    _fetched(name, patterns, local_dir=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # metadata of the hub's client
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
            f"{name!r} is neither an existing path nor on the Hugging Face hub; check the "
            f"spelling. A private repository needs `hf auth login`. {by_hand(name)}"
        ) from error
    # The client raises errors of several libraries: sockets, HTTP, the cache, the disk.
    except Exception as error:
        raise HubError(
            f"cannot download {name!r} from the Hugging Face hub, and it is not in the cache: "
            f"{_reason(error)} {by_hand(name)}"
        ) from error


def fetch(name: str | Path, config: list[str] = CONFIG) -> Path:
    """The local folder with configuration and weights of `name`; safetensors are preferred.

    A path is returned unchanged even if it does not exist: its reader raises the error.

    Args:
        name: a path, or `owner/name` of the hub.
        config: patterns of the files to download besides the weights.

    Raises:
        HubError: as in `snapshot`, or the repository has neither kind of weights.
    """
    path = Path(name).expanduser()
    if path.exists() or not is_hub_id(str(name)):
        return path
    for patterns, ending in ((SAFETENSORS, "*.safetensors"), (TORCH_FILES, "*.bin")):
        path = snapshot(str(name), config + patterns)
        if any(path.glob(ending)):
            return path
    raise HubError(
        f"{name!r} has neither model.safetensors nor pytorch_model.bin on the hub or in the cache. "
        f"If its weights have another name, run `hf download {name} FILE --local-dir DIR` and give "
        "DIR/FILE instead of the id"
    )


def by_hand(name: str) -> str:
    """How to get the files of a hub id manually, as the end of a message."""
    return (
        f"On a connected machine run `hf download {name} --local-dir DIR`, then give DIR instead "
        "of the id (for an encoder, `checkpoint: DIR`)."
    )


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith(".") else line + "."
