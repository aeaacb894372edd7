"""Records give what the run folders gave, and name no machine."""

import json

import pytest
import yaml

from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def records(module):
    return module("evidence.records")


@pytest.fixture
def plan(module, tmp_path):
    return lambda: module("evidence.planned").plan(tmp_path / "runs", kept=tmp_path / "kept")


def test_a_record_gives_the_answers_of_its_run(module, records, plan, five_runs, tmp_path):
    answers = module("evidence.answers")
    before = answers.read_finished(plan())
    for run in plan():
        if run.finished:
            assert records.keep(run) == run.record
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    after = answers.read_finished(plan())
    assert [run.folder.name for run in plan() if run.done] == [
        *("plits-seed0", "lal-seed0", "flamingo-seed0", "plits-seed1", "lal-seed1"),
    ]
    assert before.keys() == after.keys()
    for kind, runs in before.items():
        assert [vars(run) for run in runs] == [vars(run) for run in after[kind]]


def test_paths_and_seeds_are_not_of_the_experiment_but_the_start_s_weights_are(records, tmp_path):
    start = tmp_path / "start.safetensors"
    found = []
    for content, folder, seed in ((b"1", "/a", 0), (b"1", "/b", 1), (b"2", "/a", 0)):
        start.write_bytes(content)
        records._hash.cache_clear()
        config = {
            "model": {"checkpoint": str(start), "llm": {"path": "weights://llm"}},
            "datasets": {"pal_mini": {"build_info": {"audio": {"storage": folder}}}},
            "run": {"seed": seed, "output_dir": folder, "init_lr": 0.1},
        }
        found.append(records.experiment(config))
    assert found[0] == found[1]
    assert found[0].keys() == {"model.checkpoint", "model.llm.path", "run.init_lr"}
    assert found[0]["model.checkpoint"].startswith("sha256:")
    assert found[2]["model.checkpoint"] != found[0]["model.checkpoint"]


def test_part_of_the_clips_is_refused_and_a_missing_control(records, plan, five_runs, tmp_path):
    folder = tmp_path / "runs" / "lal-seed0"
    (lal,) = (run for run in plan() if run.folder == folder)
    path = folder / "result" / "val.jsonl"
    whole = path.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    del rows[0]["prediction_masked"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="masked"):
        records.record_of(lal)
    path.write_text(whole)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["run"]["eval_limit"] = 5
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="a part of the clips"):
        records.record_of(lal)
