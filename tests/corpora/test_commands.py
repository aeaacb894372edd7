"""`pal data` on shards as they come."""

import subprocess
import sys
from pathlib import Path

from pal_plugin.commands.main import main

from .conftest import rewrite


def test_names_that_lead_out_of_a_tar_write_nothing(shards, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = ["../../x", "/tmp/pal_hostile", "a/../../y", "\udcff"]
    rewrite(shards, lambda m: {f"{n}{e}": m[f"c1{e}"] for n in hostile for e in (".wav", ".json")})
    before = sorted(tmp_path.parent.rglob("*"))
    assert main(["data", "verify", str(shards)]) == 1
    assert main(["data", "stats", str(shards)]) == 0
    assert main(["data", "show", str(shards), "-n", "9"]) == 0
    assert r"\xff" in capsys.readouterr().out
    assert sorted(tmp_path.parent.rglob("*")) == before
    assert not Path("/tmp/pal_hostile.wav").exists()


def test_conversion_needs_no_lavis(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    out = str(tmp_path / "out")
    command = ["data", "convert", "own", "--workers", "1", "--audio", str(folder), "--out", out]
    program = (
        "import sys; sys.modules['lavis'] = None\n"
        "from pal_plugin.commands.main import main\n"
        f"code = main({[*command, '--annotations', str(annotations)]!r})\n"
        f"sys.exit(code or main({['data', 'verify', out]!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "7 clips in 1 shards: no faults" in done.stdout
