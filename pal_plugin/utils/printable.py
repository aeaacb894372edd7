"""Printable forms of texts with invalid Unicode, such as file names in another encoding.

Python keeps a byte that is not UTF-8 as a lone surrogate, which cannot be written or printed.
"""

from __future__ import annotations

import json
import re
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


def printable(value: Any) -> Any:
    """A text, or all texts in lists and maps, with `\\xd6` for the byte D6 etc."""
    if isinstance(value, str):
        return _HALF.sub(_escaped, value)
    if isinstance(value, list | tuple):
        return [printable(entry) for entry in value]
    if isinstance(value, dict):
        return {printable(name): printable(entry) for name, entry in value.items()}
    return value


def json_text(value: Any, **options: Any) -> str:
    """JSON without ASCII escapes, of printable texts."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if _HALF.search(text):
        text = json.dumps(printable(value), ensure_ascii=False, **options)
    return text


def _escaped(half: re.Match) -> str:
    code = ord(half[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
