"""Downloads over HTTP: resumed after an interruption, and complete or absent."""

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
#: Errors of the local disk, for which a retry is pointless.
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENOENT)
#: The requested range does not exist: the partial file is complete, or of another file.
_NO_SUCH_RANGE = 416


class DownloadError(UserError):
    """A URL that cannot be fetched."""


def download(url: str, target: Path, expected: int | None = None) -> Path:
    """Download `url` to `target`, with a progress bar. Returns `target`.

    A partial download is kept as `TARGET.part`, from which the next call resumes if the server
    supports ranges.

    Args:
        url: http or https.
        target: the file to write.
        expected: approximate size in bytes, for the progress bar if the server sends none.

    Raises:
        DownloadError: an invalid URL, an unwritable file, a refusal by the server, or four
            interrupted attempts.
    """
    part = target.with_name(f"{target.name}.part")
    reason: Exception | None = None
    for number in range(_TRIES):
        if number:
            logging.info("download of %s interrupted (%s), retrying", url, reason)
            time.sleep(_WAIT_S * number)
        try:
            _fetch(url, part, expected)
        except urllib.error.HTTPError as error:
            if error.code == _NO_SUCH_RANGE and part.exists():
                part.unlink()
            elif error.code < 500:
                raise DownloadError(f"the server refused {url}: {error}") from error
            reason = error
        except urllib.error.URLError as error:  # the server is unreachable
            if not number:
                raise DownloadError(_message(url, error.reason)) from error
            reason = error
        except (http.client.InvalidURL, ValueError) as error:
            raise DownloadError(f"{url} is not a URL ({error}); expected https://...") from error
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _OURS:
                raise DownloadError(f"cannot write {part}: {error}") from error
            reason = error
        else:
            force_to_disk(part)
            os.replace(part, target)
            return target
    raise DownloadError(_message(url, reason)) from reason


def _fetch(url: str, part: Path, expected: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "pal_plugin", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server ignored the range
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
    if total is not None and have != total:  # http.client does not check it
        raise ConnectionError(f"expected {total} bytes, read {have}")


def _message(url: str, reason: object) -> str:
    return (
        f"cannot download {url}: {reason}. Check the network connection and try again; the "
        "download resumes"
    )
