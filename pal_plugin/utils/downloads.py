"""Files from plain addresses: resumed where they broke off, there whole or not at all."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from pal_plugin.utils.errors import UserError
from pal_plugin.utils.files import force_to_disk

_TRIES = 4
_WAIT_S = 2.0
_TIMEOUT_S = 60
_BLOCK = 2**16
#: What this machine's disk says, which no server can help.
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENOENT)
#: The rest that was asked for is not there: what is here is whole, or of another file.
_NO_SUCH_RANGE = 416


class DownloadError(UserError):
    """An address that gives nothing, or that breaks off again and again."""


def download(url: str, target: Path, expected: int | None = None) -> Path:
    """Fetch `url` to `target`, with a progress bar.

    What is not whole is `TARGET.part`, from which the next call goes on where the server can.

    Args:
        expected: bytes, about, for the bar where the server does not say.

    Raises:
        DownloadError: no address, a file that cannot be written, the server refuses, or four tries
            broke off.
    """
    part = target.with_name(f"{target.name}.part")
    reason: Exception | None = None
    for number in range(_TRIES):
        if number:
            logging.info("%s broke off (%s), trying again", url, reason)
            time.sleep(_WAIT_S * number)
        try:
            _fetch(url, part, expected)
        except urllib.error.HTTPError as error:
            if error.code == _NO_SUCH_RANGE and part.exists():
                part.unlink()
            elif error.code < 500:
                raise DownloadError(f"{url} is refused: {error}") from error
            reason = error
        except urllib.error.URLError as error:  # no server is reached
            if not number:
                raise DownloadError(_told(url, error.reason)) from error
            reason = error
        except (http.client.InvalidURL, ValueError) as error:
            raise DownloadError(f"{url} is no address ({error}); expected https://...") from error
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _OURS:
                raise DownloadError(f"cannot write {part}: {error}") from error
            reason = error
        else:
            force_to_disk(part)
            os.replace(part, target)
            return target
    raise DownloadError(_told(url, reason)) from reason


def _fetch(url: str, part: Path, expected: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "pal_plugin", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server begins at the beginning
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        settings = {"unit": "B", "unit_scale": True, "desc": part.name.removesuffix(".part")}
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(total=total or expected, initial=have, **settings) as bar,
        ):
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
                have += len(block)
    if total is not None and have != total:  # what http.client does not tell of itself
        raise ConnectionError(f"{have} bytes of {total} came")


def _told(url: str, reason: object) -> str:
    return (
        f"cannot fetch {url}: {reason}. Is there a connection? Try again; it goes on where it was"
    )
