"""Shards: writing, reading, verification, statistics and previews."""
