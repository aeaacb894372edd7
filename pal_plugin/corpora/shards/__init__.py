"""Shards of public datasets: written, read, verified, counted and shown."""
