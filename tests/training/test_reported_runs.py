"""Every run ends with one report: of several processes, resumed, without evaluation, or failing."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import processes
import pytest

from pal_plugin.evaluation import splits
from pal_plugin.training import curves, run_report

from .test_resuming import OPTIONS
from .test_run import make_run

ROOT = Path(__file__).resolve().parents[2]


def text_of(page):
    """What a reader of a page sees, without what its media hold."""
    return re.sub(r"<[^>]*>", " ", page.read_text().partition("<body>")[2])


def cost(text, name):
    return re.search(rf"  {name}  (\S+)", text)[1]


def test_a_run_without_evaluation_has_a_report_with_curves(toy, caplog):
    caplog.set_level(logging.INFO)
    run = make_run(toy.config("run.valid_splits=[]", "run.test_splits=[]", "run.pictures=true"))
    assert run.train() == {}
    page = run.folder.path / "report.html"
    assert caplog.messages[-1] == f"report: {page}"
    assert "nothing was evaluated" in caplog.text
    shown = page.read_text()
    assert 'class="plot"' in shown
    assert "<h2>Cost" in shown
    assert "<h2>Results" not in shown
    assert cost(text_of(page), "steps") == str(run.training.progress.global_step)
    assert not (run.folder.path / "metrics.json").exists()
    assert not (run.folder.path / "result" / "clips").exists()


def test_a_report_that_fails_leaves_the_run_whole(toy, monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("made to fail")

    monkeypatch.setattr(splits, "keep_clips", fails)
    monkeypatch.setattr(curves, "plot_curves", fails)
    monkeypatch.setattr(run_report.page, "html", fails)
    run = make_run(toy.config("run.max_epoch=1", "run.pictures=true"))
    assert run.train()["val"]["classification"]["n"] == 8
    files = {path.name for path in run.folder.path.iterdir()}
    assert {"finished.json", "metrics.json", "evaluation.json"} <= files
    assert "report.html" not in files
    for what in ("clips in the report", "curves.png", "report.html"):
        assert f"no {what}: made to fail" in caplog.text


@pytest.mark.slow
def test_a_resumed_run_has_one_report_of_the_whole(tmp_path, shards):
    run = tmp_path / "output" / "run"
    argv = ["--job-id", "run", *OPTIONS, "run.pictures=true"]
    process = processes.start(tmp_path, shards, argv, hold_at=15)  # in the first evaluation
    processes.wait_for_hold(tmp_path, process)
    os.kill(process.pid, signal.SIGTERM)
    processes.let_go(tmp_path)
    process.join(processes.WAIT_S)
    assert process.exitcode == 75
    assert not (run / "report.html").exists()
    lines = (run / "log.txt").read_text().splitlines()
    before = max(json.loads(line).get("run_seconds", 0) for line in lines)
    log = tmp_path / "log.txt"
    again = ["--resume", "auto", *argv]
    process = processes.start(tmp_path, shards, again, log=str(log))
    process.join(processes.WAIT_S)
    assert process.exitcode == 0, log.read_text()
    assert log.read_text().rstrip().endswith(f"report: {run / 'report.html'}")
    assert len(list(tmp_path.rglob("report.html"))) == 1
    text = text_of(run / "report.html")
    assert cost(text, "steps") == "36"
    assert cost(text, "clips heard in training") == "72"
    assert json.loads((run / "finished.json").read_text())["seconds"] > before
    steps, evaluations = curves.read_log(run)
    assert [step["global_step"] for step in steps] == [*range(1, 37)]  # of the curves
    assert len(evaluations) == 3


@pytest.mark.slow
def test_torchrun_ends_with_one_report_of_all_processes(tmp_path):
    """torchrun itself, with the pocket models: two processes on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pal_plugin", "train", str(ROOT / "projects" / "pal" / "lal_stage1.yaml")]
    world = "datasets.pal_soundworld.build_info"
    command += ["--job-id", "run", "--options", f"{world}.clips={{train: 16, val: 6, test: 0}}"]
    command += [f"{world}.workers=1", f"{world}.storage={tmp_path / 'world'}", "run.device=cpu"]
    command += ["run.max_epoch=1", "run.steps_per_epoch=2", "run.batch_size_train=2"]
    command += ["run.torch_threads=1", "run.num_workers=0", f"run.output_dir={tmp_path / 'out'}"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=processes.WAIT_S,
    )
    assert done.returncode == 0, done.stdout
    run = tmp_path / "out" / "run"
    page = run / "report.html"
    assert done.stdout.rstrip().splitlines()[-1].endswith(f"report: {page}")
    assert done.stdout.count("report.html") == 1
    assert list(tmp_path.rglob("report.html")) == [page]
    rows = [json.loads(line) for line in (run / "result" / "val.jsonl").open()]
    assert len({row["sample_id"] for row in rows}) == 6  # both processes' clips
    text = text_of(page)
    assert set(re.findall(r"val_0_\d{6}", text)) == {row["sample_id"] for row in rows}
    assert text.count("0 to 8 kHz, mel") == text.count("expected: ") == 20  # each is to be heard
    assert cost(text, "processes") == "2"
    assert cost(text, "clips heard in training") == "8"  # of two steps
    assert re.search(r"GFLOP: 4 samples of \d\.\d s of audio with 3 questions each, ", text)
