"""One configuration out of package defaults, a run file and `--options`."""
