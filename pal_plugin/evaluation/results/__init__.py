"""Results of runs, read back and put side by side. Needs no model."""
