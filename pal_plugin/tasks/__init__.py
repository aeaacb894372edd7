"""What a run does: training on answers, and evaluation of them by kind."""
