"""The evidence's modules, and run folders with made-up answers."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import yaml

SMALL = Path(__file__).parents[4] / "projects" / "pal" / "small"
LABELS = ("rain", "dog")


@pytest.fixture
def module(monkeypatch):
    """`module("evidence.runs")`, as results.py finds its neighbours."""
    monkeypatch.syspath_prepend(str(SMALL))
    yield importlib.import_module
    for name in list(sys.modules):
        if name == "results" or name.partition(".")[0] == "evidence":
            del sys.modules[name]


def hits(text):
    return [letter == "1" for letter in text]


def labelled(domain, ranked, said, masked):
    """Rows of a domain: a letter of each text is a clip, 1 is right."""
    rows = []
    columns = zip(hits(ranked), hits(said), hits(masked), strict=True)
    for number, (by_rank, by_words, silent) in enumerate(columns):
        right, wrong = LABELS[number % 2], LABELS[1 - number % 2]
        rows.append(
            {
                "dataset": "pal_mini",
                "id": f"{domain}{number}#0",
                "sample_id": f"{domain}{number}",
                "task": "classification",
                "question_type": domain,
                "question": "What do you hear?",
                "reference": right,
                "answers": [right],
                "prediction": right if by_rank else wrong,
                "said": "It is something.",
                "named": right if by_words else "",
                "figures": {"accuracy_said": float(by_words), "unmatched": float(not by_words)},
                "prediction_masked": right if silent else wrong,
                "figures_masked": {"accuracy_said": 0.0, "unmatched": 1.0},
            }
        )
    return rows


def transcripts(*said):
    """Rows of clips in which four words are said."""
    return [
        {
            "dataset": "pal_spoken",
            "id": f"said{number}#0",
            "sample_id": f"said{number}",
            "task": "transcript",
            "question_type": "transcript",
            "question": "What is said?",
            "reference": "one two three four",
            "answers": ["one two three four"],
            "prediction": text,
            "prediction_masked": "",
        }
        for number, text in enumerate(said)
    ]


@pytest.fixture
def write_run(tmp_path):
    """`write_run(kind, seed, rows)`: a finished run in `tmp_path / "runs"`."""

    def write(kind, seed, rows, losses=(3.0, 1.0), run=(), routing=None):
        folder = tmp_path / "runs" / f"{kind}-seed{seed}"
        (folder / "result").mkdir(parents=True)
        config = {
            "model": {"model_type": f"small_{kind}", "routing": routing or {"speech": kind}},
            "datasets": {"pal_mini": {"order_seed": seed}},
            "run": {
                "seed": seed,
                "name": f"evidence_{kind}",
                "max_epoch": 1,
                "steps_per_epoch": 600,
                "batch_size_train": 16,
                "init_lr": 0.001,
                "train_dataset_ratios": {"pal_mini": 1.0, "pal_spoken": 1.0},
                **dict(run),
            },
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.json").write_text(json.dumps({"val": {}}))
        (folder / "finished.json").write_text("{}")
        lines = [
            {"kind": "train_step", "global_step": 50 * i, "recent_loss": loss, "seconds": 60.0 * i}
            for i, loss in enumerate(losses, 1)
        ]
        log = [*lines, {"kind": "val", "epoch": 0}]
        (folder / "log.txt").write_text("".join(json.dumps(line) + "\n" for line in log))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "result" / "val.jsonl").write_text(text)
        return folder

    return write


@pytest.fixture
def five_runs(write_run):
    """LAL and PLITS with two seeds, Flamingo with one; clips of two domains and two transcripts.

    Right of 8 clips: PLITS 4 and 4 by ranking, 2 and 4 said; LAL 8 and 6, 8 and 8; Flamingo none.
    """
    whole, half, none = "1111", "1100", "0000"
    right, short = "one two three four", "one two"

    def rows(esc10, digits, said_esc10, said_digits, *said):
        return [
            *labelled("digits", digits, said_digits, half),
            *labelled("esc10", esc10, said_esc10, half),
            *transcripts(*said),
        ]

    write_run("plits", 0, rows(half, half, half, none, right, short), losses=(4.0, 2.0))
    write_run("plits", 1, rows(half, half, half, half, right, short), losses=(2.0, 2.0))
    write_run("lal", 0, rows(whole, whole, whole, whole, right, right))
    write_run("lal", 1, rows(whole, half, whole, whole, right, short))
    write_run("flamingo", 0, rows(none, none, none, none, "", ""), losses=(3.0, 2.5))
