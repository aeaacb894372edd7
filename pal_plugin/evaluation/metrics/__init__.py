"""Counting what a model said. Plain Python on texts and numbers: no model of ours, no LAVIS.

Design choice: a score that needs a package or a download that is not there is not replaced by
another one; it is named as missing, with the way to get it.
"""
