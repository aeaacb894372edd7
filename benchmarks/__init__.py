"""Measurements of pal_plugin; each module that is run by hand says so in its `--help`."""
