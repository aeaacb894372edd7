"""Errors for scores that cannot be computed, and versions of the packages that compute them."""

from __future__ import annotations

import importlib.metadata

#: pip requirements other than the package's name: the newest aac-metrics does not install with
#: transformers 5.
_ASK_FOR = {"aac-metrics": "'pal-plugin[captions]'", "scikit-learn": "'pal-plugin[eval]'"}


class MissingScoreError(RuntimeError):
    """A score needs a package or file that is not installed; the message says how to get it."""


def version_of(package: str) -> str:
    """`package` and its version, for results.

    Raises:
        MissingScoreError: the package is not installed.
    """
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        wanted = _ASK_FOR.get(package, package)
        raise MissingScoreError(f"{package} is not installed: pip install {wanted}") from None
