"""Names in messages: suggestions for unknown names, and abbreviated lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def neighbours(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to `name`, best first; empty if none is close."""
    return difflib.get_close_matches(name, [str(k) for k in known], n=count, cutoff=0.55)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence for an error message: the closest names, or all of them if none is close."""
    close = neighbours(name, known)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"Known here: {', '.join(sorted(map(str, known))) or 'nothing'}."


def first_of(names: Sequence[object], separator: str = ", ", most: int = 10) -> str:
    """The first `most` names, and dots if there are more."""
    shown = separator.join(map(str, names[:most]))
    return f"{shown}{separator}..." if len(names) > most else shown


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ValueError for unknown names, with the closest known ones.

    Args:
        where: start of the message.
    """
    known = sorted(known)
    problems = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            problems.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if problems:
        raise ValueError(f"{where}: unknown {', '.join(problems)}; known: {', '.join(known)}")
