"""Train: `python train.py --cfg-path projects/pal/lal_stage1.yaml`."""

import sys

from pal_plugin.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], host="pal_plugin.hosts.lavis"))
