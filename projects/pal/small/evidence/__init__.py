"""What docs/results.md is made of: trainings, their answers, costs, tables and words."""
