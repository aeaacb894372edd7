"""Training runs: optimizer steps, checkpoints, processes, data order, metric logs."""
