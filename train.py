"""Train: `python train.py --cfg-path projects/pal/lal_stage1.yaml`; `--help` shows more."""

import sys

from pal_plugin.commands.cli import train

if __name__ == "__main__":
    sys.exit(train())
