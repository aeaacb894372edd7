"""Results of runs, read back and put side by side. Needs no LAVIS and no model."""
