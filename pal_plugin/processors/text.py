"""`pal_text`: normalizes white space of questions."""

from __future__ import annotations

from typing import Any


class TextProcessor:
    """Collapses white space; letters, case and punctuation are unchanged."""

    def __call__(self, item: str) -> str:
        """The normalized text.

        Raises:
            ValueError: if it is not text, or blank.
        """
        if not isinstance(item, str) or not item.strip():
            raise ValueError(f"expected a non-blank text as question, got {item!r}")
        return " ".join(item.split())

    @classmethod
    def from_config(cls, cfg: Any = None) -> TextProcessor:
        """Build the processor from its section of a dataset's configuration."""
        return cls()
