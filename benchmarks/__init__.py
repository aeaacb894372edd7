"""Benchmarks of pal_plugin; see the `--help` of each module."""
