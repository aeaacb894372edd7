"""Clips, questions and candidates of `pal_mini` as plain lists; shared by the baselines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from pal_plugin.config.recipes import beside_recipes
from pal_plugin.config.registry import DATASETS, defaults_of
from pal_plugin.datasets.clips import LabelledClip, present, read_annotations


@dataclass(frozen=True, eq=False)
class Domain:
    """One entry of the metrics.

    Attributes:
        name: in the metrics.
        question: asked in evaluation.
        candidates: all labels, sorted.
        val: evaluated clips.
        train: clips that a separate classifier may be fitted to.
    """

    name: str
    question: str
    candidates: list[str]
    val: list[LabelledClip]
    train: list[LabelledClip]


def domains(audio: Path, every: int = 1) -> list[Domain]:
    """The domains of `pal_mini`, with clips in the order of splits.csv.

    Args:
        audio: the folder of the clips.
        every: use every n-th clip of `val`, from the first on.

    Raises:
        ConfigError: clips are missing; lists them.
    """
    defaults = OmegaConf.load(defaults_of(DATASETS, "pal_mini")["default"]).datasets.pal_mini
    annotations = beside_recipes(defaults.build_info.annotations)

    def clips(where: dict[str, str]) -> list[LabelledClip]:
        return read_annotations(annotations, audio, where=where)

    found = []
    for name, entry in defaults.domains.items():
        own = clips({"domain": entry.domain})
        val = clips({"domain": entry.domain, "split": entry.val})[::every]
        train = clips({"domain": entry.domain, "split": entry.train or "train"})
        present([*val, *train], required=True, split=name)
        labels = sorted({clip.label for clip in own})
        found.append(Domain(name, entry.questions[0], labels, val, train))
    return found


def accuracy(chosen: Sequence[str], right: Sequence[str]) -> dict[str, float | int]:
    """`{"accuracy", "n"}` of answers, as in mfcc_svm.py."""
    hits = sum(a == b for a, b in zip(chosen, right, strict=True))
    return {"accuracy": round(hits / len(right), 4), "n": len(right)}


def arguments(description: str, every: bool = True) -> argparse.ArgumentParser:
    """A parser of the arguments shared by all scripts.

    Args:
        description: the script's docstring.
        every: whether to add `--every`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--audio",
        type=Path,
        default=Path(os.environ["PAL_DATA"]) / "audio" if "PAL_DATA" in os.environ else None,
        metavar="FOLDER",
        help="folder of the clips in projects/pal/mini/splits.csv (default: $PAL_DATA/audio)",
    )
    parser.add_argument(
        "--model-type",
        default="small",
        metavar="NAME",
        help="model type whose encoder or LLM is used, without connectors (default: small)",
    )
    if every:
        parser.add_argument(
            "--every",
            type=int,
            default=1,
            metavar="N",
            help="evaluate only every Nth clip (default: 1, all clips)",
        )
    return parser


def parsed(parser: argparse.ArgumentParser, given: Sequence[str] | None) -> argparse.Namespace:
    """The parsed options; exits with a message if they are invalid."""
    options = parser.parse_args(given)
    if options.audio is None:
        parser.error(
            "no folder of clips: set PAL_DATA to the folder that contains audio/, or give --audio"
        )
    if getattr(options, "every", 1) < 1:
        parser.error(f"--every must be at least 1, got {options.every}")
    return options
