"""The benchmark of the front ends, from the command line to its files."""

import json

import pytest

from benchmarks import features


def test_a_small_run_writes_ratios_and_differences(tmp_path):
    argv = ["--seconds", "0.5", "--batch", "1", "3", "--repeats", "2", "--quiet"]
    written = features.main([*argv, "--out", str(tmp_path)])
    assert [path.suffix for path in written] == [".json", ".md"]
    document = json.loads(written[0].read_text())
    assert len(document["rows"]) == 4 * 2 * 2
    for row in document["rows"]:
        assert row["speed_over_stock"]["median"] > 0
        # stock Kaldi is float32, which alone is off by more than ours
        assert row["most_db_from_stock"] < (0.1 if row["precision"] == "fast" else 0.2)
    table = written[1].read_text()
    assert table == features.markdown(document)
    assert "| clap | exact | 0.5 | 3 |" in table


def test_a_clip_longer_than_a_window_is_refused():
    with pytest.raises(SystemExit, match="at most 10 s for clap.*got --seconds 11"):
        features.main(["--encoders", "clap", "--seconds", "11", "--quiet"])


def test_help_says_what_is_compared(capsys):
    with pytest.raises(SystemExit) as end:
        features.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "torchaudio's" in text
    assert "--clock" in text
