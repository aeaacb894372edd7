"""From files to batches. `builders` needs LAVIS; everything else does not."""
