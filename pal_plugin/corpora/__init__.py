"""Public datasets as they are published: original files to records, records to shards.

`READERS` (in `readers`) names the datasets. `convert` writes shards, `verify` checks them. Nothing
here needs LAVIS.
"""
