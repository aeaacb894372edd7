"""Serving: many requests answered together by one model, in one process."""
