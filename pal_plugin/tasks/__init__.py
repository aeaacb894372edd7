"""Tasks of a run: training on answers, and their evaluation."""
