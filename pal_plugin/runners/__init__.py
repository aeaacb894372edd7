"""Training and evaluation runs. `runner_pal` and `schedule` need LAVIS; the rest does not."""
