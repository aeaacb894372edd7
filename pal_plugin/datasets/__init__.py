"""Datasets: from audio files and shards to batches."""
