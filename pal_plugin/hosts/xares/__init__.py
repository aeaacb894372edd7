"""XARES-LLM as a host: encoders of this package with its contract. It is not imported.

The other way round, an encoder with its contract in this package: `encoders/xares.py`.
"""
