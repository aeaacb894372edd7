"""A run that was interrupted before the package's rooms were rearranged is resumed by today's code.

`run_before_the_move/` holds it as the code of 30 November 2026 left it behind step 8, and in
`expected/` what the same code made of the other ten steps. Compared to rounding, since processors
differ in it; what was read, and in which order, must be the same to the clip.
"""

import shutil
from pathlib import Path

import processes
import pytest
import torch
import toys
from safetensors.torch import load_file

from .test_resuming import steps

KEPT = Path(__file__).parent / "run_before_the_move"
OPTIONS = [
    *("--options", "run.max_epoch=3", "run.steps_per_epoch=6", "run.save_every=2"),
    *("run.log_freq=1", "run.torch_threads=1", "run.batch_size_train=2", "run.num_workers=1"),
    *("run.shard_streams=2", "run.init_lr=0.01", "run.keep_checkpoints=99"),
]


@pytest.mark.slow
def test_it_is_resumed(tmp_path):
    (tmp_path / "shards").mkdir()
    toys.write_shards(tmp_path / "shards")
    run = tmp_path / "output" / "run"
    shutil.copytree(KEPT / "run", run)
    log = tmp_path / "log.txt"
    argv = ["--job-id", "run", "--resume", "auto", *OPTIONS]
    process = processes.start(tmp_path, "shards", argv, log=str(log))
    process.join(processes.WAIT_S)
    assert process.exitcode == 0, log.read_text()
    assert "step 2 of epoch 1" in log.read_text()
    ours, theirs = steps(run), steps(KEPT / "expected")
    assert len(ours) == 18
    for mine, before in zip(ours, theirs, strict=True):  # epoch, step, ..., loss, norm, lr, order
        assert [*mine[:3], *mine[6:]] == [*before[:3], *before[6:]]
        assert mine[3:6] == pytest.approx(before[3:6], rel=1e-4)
    weights, expected = (
        load_file(f / "checkpoint_last.safetensors") for f in (run, KEPT / "expected")
    )
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
