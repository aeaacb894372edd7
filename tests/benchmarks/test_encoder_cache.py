"""The benchmark of kept encoder states measures both ways on real files."""

import numpy as np
import soundfile

from benchmarks import encoder_cache


def test_command_line(tmp_path, capsys):
    for number in range(2):
        noise = 0.1 * np.random.default_rng(number).standard_normal(8000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16000)
    argv = ["lal_stage1", "--clips", str(tmp_path), "--batch", "1", "--batches", "2"]
    seconds = encoder_cache.main(argv)
    assert set(seconds) == {
        *("batch, encoded", "batch, kept", "step, encoded", "step, kept"),
    }
    assert min(seconds.values()) > 0
    assert "2 clips in batches of 1" in capsys.readouterr().out
