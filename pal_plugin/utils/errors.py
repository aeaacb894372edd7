"""Errors that are the user's to repair: the command line prints them without a traceback."""


class ConfigError(ValueError):
    """A configuration, a checkpoint name or a dataset's description that cannot be used."""
