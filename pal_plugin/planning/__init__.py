"""Cost of a run before it starts: parameters, tokens, FLOPs and memory of any recipe."""
