"""What is asked of a model and how its answers are counted. `pal_instruct` needs LAVIS."""
