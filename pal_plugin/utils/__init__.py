"""What every room may use: errors, files, weights, hub, process."""
