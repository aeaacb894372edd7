"""Names in messages: the nearest known ones to one that is not, and the first of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def neighbours(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names nearest to `name`, best first; empty where nothing is near."""
    return difflib.get_close_matches(name, [str(k) for k in known], n=count, cutoff=0.55)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence for an error message: the nearest names, or all of them where none is near."""
    close = neighbours(name, known)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"Known here: {', '.join(sorted(map(str, known))) or 'nothing'}."


def first_of(names: Sequence[object], separator: str = ", ", most: int = 10) -> str:
    """The first names, and dots where there are more."""
    shown = separator.join(map(str, names[:most]))
    return f"{shown}{separator}..." if len(names) > most else shown


def reject_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ValueError for names that are not known, with the nearest known name."""
    known = sorted(known)
    problems = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            problems.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if problems:
        raise ValueError(f"{where}: unknown {', '.join(problems)}; known: {', '.join(known)}")
