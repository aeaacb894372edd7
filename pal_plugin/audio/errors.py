"""What is raised about audio that cannot be used."""

from pal_plugin.utils.errors import UserError


class AudioError(UserError, ValueError):
    """Audio that cannot be used; the message says which, why, and what to do."""


class Undecodable(ValueError):
    """Why bytes are no usable audio; whoever knows the file's name makes an `AudioError` of it."""
