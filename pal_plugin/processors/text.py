"""`pal_text`: questions as they are, without white space around them."""

from __future__ import annotations

from typing import Any


class TextProcessor:
    """Removes white space at both ends. Line breaks and spaces within stay: published prompts have
    them, and a model that is asked directly (`ask`, a server) reads them too."""

    def __call__(self, item: str) -> str:
        """The text.

        Raises:
            ValueError: if it is not text, or blank.
        """
        if not isinstance(item, str) or not item.strip():
            raise ValueError(f"expected a non-blank text as question, got {item!r}")
        return item.strip()

    @classmethod
    def from_config(cls, cfg: Any = None) -> TextProcessor:
        """Build the processor from its section of a dataset's configuration."""
        return cls()
