"""What a run costs, before it runs: parameters, tokens, FLOPs and memory of any recipe."""
