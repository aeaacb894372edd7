"""Converts public datasets: original annotation files to records, records to shards.

`READERS` (in `readers`) lists the datasets. `convert` writes shards, `verify` checks them. Nothing
here needs LAVIS.
"""
