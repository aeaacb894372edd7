"""Metrics of generated answers. Plain Python on texts and numbers: no model of ours, no LAVIS.

Design choice: a score that needs a missing package or download is never replaced by another one; it
is reported as missing, with the way to get it.
"""
