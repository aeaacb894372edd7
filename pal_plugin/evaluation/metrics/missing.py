"""A score that cannot be computed here, and the versions of what computes the others."""

from __future__ import annotations

import importlib.metadata

#: What to ask pip for, where it is not the package's own name: the newest aac-metrics does not
#: install beside transformers 5.
_ASK_FOR = {"aac-metrics": "'pal-plugin[captions]'", "scikit-learn": "'pal-plugin[eval]'"}


class MissingScoreError(RuntimeError):
    """A score needs what is not installed here; the message says how to get it."""


def version_of(package: str) -> str:
    """`package` and its version, as results name it.

    Raises:
        MissingScoreError: it is not installed.
    """
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        wanted = _ASK_FOR.get(package, package)
        raise MissingScoreError(f"{package} is not installed: pip install {wanted}") from None
