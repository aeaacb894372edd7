"""Helpers for all packages: errors, files, weights, hub, processes."""
