"""`pal run` tells where a run stands."""

import json
import shutil
from pathlib import Path

import pytest

from pal_plugin.commands.main import main

KEPT = Path(__file__).parents[1] / "training" / "run_before_the_move" / "run"


@pytest.fixture
def run(tmp_path):
    """A run of the toy model that was interrupted behind step 8."""
    return shutil.copytree(KEPT, tmp_path / "run")


def test_pal_run_tells_where_it_stands(run, capsys):
    assert main(["run", str(run)]) == 0
    told = capsys.readouterr().out
    assert "step-00000008 (resume with --resume auto)" in told
    assert "epoch 1, step 2 (8 in total), 16 clips" in told
    assert "toy_tones  8  100.0%" in told
    assert "1: 4 batches; toy_tones at [" in told
    (run / "finished.json").touch()
    assert main(["run", str(run)]) == 0
    assert "step-00000008 (finished)" in capsys.readouterr().out
    assert main(["run", str(run / "result")]) == 2
    assert "has no intact checkpoint" in capsys.readouterr().err


def test_json_is_the_state_as_it_is(run, capsys):
    assert main(["run", str(run), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    kept = json.loads((run / "checkpoints" / "step-00000008" / "state.json").read_text())
    assert state == {key: value for key, value in kept.items() if key != "files"}
