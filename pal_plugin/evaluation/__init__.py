"""What is asked of a model, how its answers are counted, and what is kept of it."""
