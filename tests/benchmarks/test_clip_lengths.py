"""The benchmark of clip lengths, in tiny."""

import json

from benchmarks import clip_lengths
from pal_plugin.planning import shapes


def test_command_line(tmp_path, monkeypatch, capsys):
    tiny = {**shapes.LLMS["smollm2-135m"], "hidden_size": 36, "intermediate_size": 32}
    tiny |= {"num_hidden_layers": 2, "vocab_size": 64, "head_dim": 4}
    monkeypatch.setitem(clip_lengths.LLMS, "smollm2-135m", tiny)
    whisper = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2}
    whisper |= {"encoder_ffn_dim": 16, "num_mel_bins": 80, "max_source_positions": 1500}
    monkeypatch.setitem(clip_lengths.ENCODER_SIZES, "whisper-tiny", whisper)
    argv = ["--seconds", "1", "30", "--repeats", "2", "--batch", "2", "--out", str(tmp_path)]
    written = clip_lengths.main(argv)
    assert "| 30 | 150 |" in capsys.readouterr().out
    rows = json.loads(next(p for p in written if p.suffix == ".json").read_text())["rows"]
    assert [row["tokens"] for row in rows] == [5, 150]
    assert all(row["plits / lal"]["median"] > 0 for row in rows)
    assert all(0 < row["encoder / lal with it"]["median"] < 1 for row in rows)
    assert "step_s" not in rows[0]  # absolute times of a CPU mean nothing elsewhere
