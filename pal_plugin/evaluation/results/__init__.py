"""Results of runs: read, resample and tabulate them. Needs no model."""
