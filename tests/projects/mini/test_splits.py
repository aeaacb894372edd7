"""splits.csv keeps its promises, and make_splits.py makes it."""

import csv
from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parents[4] / "shared" / "data"


def read(recipes):
    with (recipes / "splits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_sizes_and_labels(recipes):
    rows = read(recipes)
    assert Counter((r["domain"], r["split"]) for r in rows) == {
        ("esc10", "train"): 240,
        ("esc10", "val"): 80,
        ("digits", "train"): 1350,
        ("digits", "val"): 150,
        ("digits", "val_speaker"): 200,
        ("instruments", "train"): 220,
        ("instruments", "val"): 80,
    }
    for domain in ("esc10", "digits", "instruments"):
        labels = {r["category"] for r in rows if r["domain"] == domain}
        assert len(labels) == 10
        for split in {r["split"] for r in rows if r["domain"] == domain}:
            counts = Counter(
                r["category"] for r in rows if (r["domain"], r["split"]) == (domain, split)
            )
            assert counts.keys() == labels
            assert len(set(counts.values())) == 1  # balanced, so chance is 10 %
    assert all(r["category"] == r["category"].lower().replace("_", " ") for r in rows)
    assert len({Path(r["filename"]).name for r in rows}) == len(rows)  # names serve as ids


def test_nothing_is_shared_between_training_and_evaluation(recipes):
    rows = read(recipes)
    for domain in ("esc10", "instruments"):
        groups = {
            split: {r["group"] for r in rows if (r["domain"], r["split"]) == (domain, split)}
            for split in ("train", "val")
        }
        assert not groups["train"] & groups["val"]
    speakers = {
        split: {r["group"] for r in rows if (r["domain"], r["split"]) == ("digits", split)}
        for split in ("train", "val_speaker")
    }
    assert speakers["val_speaker"] == {"nicolas"}
    assert speakers["train"] == {"george", "jackson", "lucas"}


def test_a_recording_in_two_splits_is_found(script):
    splits = script("make_splits")
    rows = [
        {"domain": "esc10", "group": "1", "split": "train"},
        {"domain": "esc10", "group": "1", "split": "val"},
        {"domain": "instruments", "group": "1", "split": "val"},
        {"domain": "digits", "group": "george", "split": "train"},
        {"domain": "digits", "group": "george", "split": "val"},
    ]
    assert splits.shared_groups(rows) == [("esc10", "1")]


def test_without_the_data_it_says_so(script, monkeypatch, capsys):
    monkeypatch.delenv("PAL_DATA", raising=False)
    assert script("make_splits").main() == 2
    assert "PAL_DATA" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
def test_the_committed_file_is_what_the_script_makes(script, recipes):
    assert script("make_splits").make_rows(DATA / "audio") == read(recipes)
    missing = [
        r["filename"] for r in read(recipes) if not (DATA / "audio" / r["filename"]).is_file()
    ]
    assert not missing
