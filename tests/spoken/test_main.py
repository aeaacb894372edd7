"""`python -m pal_plugin.spoken`: clips to listen to, shards, counts."""

import pytest

from pal_plugin.spoken import synthesis
from pal_plugin.spoken.__main__ import main


def test_command_writes_clips_and_explains_itself(tmp_path, capsys):
    main(["--listen", str(tmp_path / "look"), "--clips", "2", "--split", "test"])
    assert len(list((tmp_path / "look").glob("00?_*.flac"))) == 2
    assert "000_" in capsys.readouterr().out
    main(["--out", str(tmp_path), "--clips", "1", "--split", "val"])
    assert "1 shards in" in capsys.readouterr().out
    main(["--count"])
    assert "words for sequences" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path), "--clips", "0"])


def test_a_missing_synthesiser_is_told_without_a_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["--listen", str(tmp_path)])
    assert "pip install espeakng-loader" in capsys.readouterr().err
