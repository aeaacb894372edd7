"""Evaluate: `python evaluate.py --cfg-path projects/pal/lal_stage1.yaml`; `--help` shows more."""

import sys

from pal_plugin.commands.cli import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
