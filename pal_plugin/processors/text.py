"""`pal_text`: questions as they come from files, spreadsheets and people, cleaned up."""

from __future__ import annotations

from typing import Any


class TextProcessor:
    """Collapses white space; letters, case and punctuation stay."""

    def __call__(self, item: str) -> str:
        """The cleaned text.

        Raises:
            ValueError: not a text, or nothing but white space.
        """
        if not isinstance(item, str) or not item.strip():
            raise ValueError(f"a question must be a text that is not empty, got {item!r}")
        return " ".join(item.split())

    @classmethod
    def from_config(cls, cfg: Any = None) -> TextProcessor:
        return cls()
