"""Several train splits: each is built for training, whatever its name."""

import json
import shutil

import cli
import pytest
from toys import LABELS, facts, flac, tone, write_shard

SPLITS = "{train: 12, extra: 6, val: 8}"


@pytest.fixture
def with_extra(toy, shards, tmp_path):
    """Options of a run on the splits "train" and "extra"; one clip of "extra" is broken."""
    import numpy as np

    rng = np.random.default_rng(1)
    folder = tmp_path / "three"
    shutil.copytree(shards, folder)
    for shard in range(2):
        names = [f"extra-{shard}-{i}" for i in range(3)]
        clips = [(n, flac(tone(LABELS[0], rng)), facts(n, LABELS[0])) for n in names]
        if shard == 0:
            clips[1] = (names[1], b"not audio at all", clips[1][2])
        write_shard(folder / f"extra-{shard}.tar", clips)
    info = "datasets.toy_tones.build_info"
    return [
        *(f"{info}.storage={folder}", f"{info}.clips={SPLITS}"),
        *("run.train_splits=[train,extra]", "run.max_epoch=1"),
    ]


def test_both_are_trained_on_and_a_broken_clip_is_skipped(toy, with_extra):
    argv = ["--cfg-path", str(toy.recipe), "--job-id", "both", "--options", *with_extra]
    assert cli.train(argv) == 0
    run = toy.folder / "output" / "both"
    assert "toy_tones.extra" in (run / "checkpoints" / "step-00000005" / "state.json").read_text()
    assert json.loads((run / "metrics.json").read_text())["val"]["qa"]["n"] == 8


def test_a_train_split_is_not_evaluated(toy, with_extra, capsys):
    argv = ["--cfg-path", str(toy.recipe), "--options", *with_extra, "run.test_splits=[extra]"]
    assert cli.train(argv) == 2
    assert "'extra' is trained on and evaluated" in capsys.readouterr().err
