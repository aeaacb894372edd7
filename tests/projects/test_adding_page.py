"""The script of docs/adding.md, with the page's own dataset, run as the page says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text("utf-8")


def blocks(heading, kind):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(f"```{kind}\n(.*?)```", section, re.S)


def test_every_example_in_yaml_can_be_read():
    shown = re.findall("```yaml\n(.*?)```", PAGE, re.S)
    assert len(shown) >= 5
    assert all(isinstance(yaml.safe_load(text), dict) for text in shown)


@pytest.mark.slow
def test_the_script_trains_on_the_pages_dataset(tmp_path):
    (tmp_path / "asked.py").write_text(blocks("A dataset", "python")[0])
    (tmp_path / "pal_asked.yaml").write_text(blocks("A dataset", "yaml")[1])
    (tmp_path / "my_run.py").write_text(blocks("From a script of your own", "python")[0])
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    line = json.dumps({"audio": "a.wav", "question": "How many dogs?", "answers": ["two", "2"]})
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").write_text(f"{line}\n" * 4)
    run = {"lr_sched": "my_sqrt", "max_epoch": 1, "steps_per_epoch": 2, "batch_size_train": 2}
    changes = {
        "datasets": {"pal_soundworld": None, "my_asked": {"build_info": {"storage": "."}}},
        "run": {**run, "num_workers": 0},
    }
    (tmp_path / "my_changes.yaml").write_text(yaml.safe_dump(changes))
    done = subprocess.run(
        [sys.executable, "my_run.py", "lal_stage1", "my_changes.yaml"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (run_folder,) = (tmp_path / "output").iterdir()
    assert run_folder.name.startswith("lal_stage1+my_changes-")
    assert json.loads((run_folder / "metrics.json").read_text())["val"]["qa"]["n"] == 4
