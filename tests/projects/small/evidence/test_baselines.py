"""What the baselines' scripts print becomes rows, with the intervals of so many clips."""

import json

import pytest

from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def read(module):
    return module("evidence.baselines").read_baselines


def of(right, n):
    return {"accuracy": right / n, "n": n}


def test_rows_of_all_scripts(read, tmp_path):
    printed = {
        "mfcc_svm": {"esc10": of(4, 8)},
        "probe": {"2": {"esc10": of(6, 8)}, "end": {"esc10": of(5, 8)}, "settings": {"C": 0.05}},
        "cascade": {
            "spoken": {"wer": 0.05, "n": 3, "clips": []},
            "esc10": {"cascade": of(2, 4), "named": of(0, 4)},
            "clips": [],
            "settings": {"every": 2},
        },
        "ceiling": {
            "esc10": {k: of(8, 8) for k in ("told", "shuffled", "believed", "question_alone")},
            "settings": {},
        },
    }
    for name, content in printed.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = read(tmp_path, 2000)
    assert found.missing == []
    assert found.wer == (0.05, 3)
    assert [(row.name.split(":")[0], row.figures["esc10"][0].value) for row in found.rows] == [
        ("MFCC + SVM", 0.5),
        ("linear probe of Whisper, layer 2", 0.75),
        ("linear probe of Whisper, the end", 0.625),
        ("cascade", 0.5),
        ("the label searched for in Whisper's transcript", 0.0),
        ("ceiling", 1.0),
        ("the LLM is told another clip's label", 1.0),
        ("the LLM reads the question alone", 1.0),
    ]
    interval, count = found.rows[0].figures["esc10"]
    assert (interval.low, interval.high, count) == (0.125, 0.875, 8)


def test_what_is_missing_or_something_else(read, tmp_path):
    assert read(None, 10).missing == ["mfcc_svm", "probe", "cascade", "ceiling"]
    (tmp_path / "probe.json").write_text('{"2": 0.5}')
    with pytest.raises(ConfigError, match=r"probe\.json is not what projects/pal/small/probe\.py"):
        read(tmp_path, 10)
