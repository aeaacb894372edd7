"""The padding benchmark: exact where lengths are equal, and on real files."""

import json

import numpy as np
import pytest
import soundfile

from benchmarks import padding


def test_equal_lengths_have_no_padding_and_a_pool_of_many_hardly_any():
    assert all(r["padded"] == 0 for r in padding.rows([9.0] * 40, 10.0, 4, [1, 8], 0))
    plain, pooled = padding.rows([5.0, 25.0] * 64, 10.0, 4, [1, 16], 0)
    # A batch of both is padded to 25 s: nearly all of them are, of which 15 s are the mean.
    assert plain["padded"] == pytest.approx(0.4, abs=0.06)
    assert pooled["padded"] < 0.04
    assert pooled["windows"] == pytest.approx(1 - 15 / 20, abs=0.04)


def test_command_line(tmp_path, capsys):
    for i, seconds in enumerate((0.5, 2.0)):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(int(8000 * seconds)), 8000)
    argv = ["--audio", str(tmp_path), "--uniform", "15", "30", "6", "--out", str(tmp_path / "out")]
    written = padding.main(argv)
    assert "2 files, 0.50 to 2.00 s; 6 lengths, uniform from 15 to 30 s" in capsys.readouterr().out
    document = json.loads(next(p for p in written if p.suffix == ".json").read_text())
    assert [row["pool"] for row in document["rows"]] == [1, 8]
    with pytest.raises(SystemExit):
        padding.main(["--out", str(tmp_path)])
