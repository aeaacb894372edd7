"""Training runs: steps, checkpoints, processes, streams of data, logs."""
