"""The configuration of a run: package defaults, a run file and `--options`."""

from pal_plugin.config.run_config import RunConfig, load_config, parse_options

__all__ = ["RunConfig", "load_config", "parse_options"]
