"""`python -m pal_plugin.soundworld`: shards, previews, texts."""

import pytest

from pal_plugin.soundworld.__main__ import main


def test_command_previews_and_explains_itself(tmp_path, capsys):
    main(["--preview", str(tmp_path / "look"), "--clips", "2", "--split", "test"])
    assert len(list((tmp_path / "look").glob("*.wav"))) == 2
    assert "000_" in capsys.readouterr().out
    main(["--texts", "2"])
    assert capsys.readouterr().out.count("<|user|>") >= 4
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path), "--clips", "0"])
