"""Evaluation: questions to a model, metrics of its answers, and the record of both."""
