"""`train.py` and `evaluate.py` in this process."""

from pal_plugin.commands.main import main

LAVIS = "pal_plugin.hosts.lavis"


def train(argv):
    return main(["train", *argv], host=LAVIS)


def evaluate(argv):
    return main(["evaluate", *argv], host=LAVIS)
