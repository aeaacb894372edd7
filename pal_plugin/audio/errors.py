"""Errors about unusable audio."""

from pal_plugin.utils.errors import UserError


class AudioError(UserError, ValueError):
    """Unusable audio; the message says which clip, why, and what to do."""


class Undecodable(ValueError):
    """Why data is not usable audio; converted to an `AudioError` with the file's name."""
