"""FLOPs in a report: the numbers of `pal plan` at the shapes that the run logged."""

import json
import time
from pathlib import Path

import pytest
import yaml

from pal_plugin.commands.main import main
from pal_plugin.config.run_config import load_config
from pal_plugin.planning.compute import Compute
from pal_plugin.training import run_compute
from pal_plugin.training.run_compute import compute_texts, flops, shape_of
from pal_plugin.utils import files

RECIPES = Path(__file__).resolve().parents[2] / "projects" / "pal"
RUN = {"evaluate": False, "batch_size_train": 4, "accum_grad_iters": 2}
EPOCH = {"kind": "train", "clips": 10, "rows": 30, "audio_s": 31.2}
EPOCH |= {"answer_tokens": 150, "text_tokens": 720}
MODEL = {"llm": {}, "encoders": {"clap": {"cache": True}, "gone": None}}


@pytest.fixture
def folder(tmp_path):
    """A run of two epochs, the first of which was logged twice."""
    lines = [{**EPOCH, "epoch": 0, "clips": 99}, {**EPOCH, "epoch": 0}, {**EPOCH, "epoch": 1}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "log.txt").write_text(text + '{"kind": "tra')
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": MODEL, "run": RUN}))
    return tmp_path


def test_the_shape_is_the_mean_of_what_was_logged(folder):
    shape = shape_of(folder, {"run": RUN})
    work = shape.work
    assert (work.clips, work.accumulate, work.rows_per_clip) == (4, 2, 3)
    assert (work.clip_s, work.text, work.answer) == (3.1, 24, 5)
    assert shape.origin == "means of the training"


def test_without_a_log_the_shape_is_assumed_and_says_so(folder):
    (folder / "log.txt").unlink()
    cfg = {"run": RUN, "datasets": {"a": {"items_per_clip": 2}, "b": {}}}
    shape = shape_of(folder, cfg)
    assert (shape.work.clip_s, shape.work.text, shape.work.answer) == (10.0, 128, 64)
    assert shape.work.rows_per_clip == 2
    assert shape.origin == "assumed"
    (folder / "result").mkdir()
    clips = [{"file": "0-0.ogg", "seconds": 2.0}, {"file": "0-1.ogg", "seconds": 5.0}]
    kept = {"split": "val", "dataset": None, "sample_id": "a", "clips": clips}
    files.write_jsonl(folder / "result" / "clips.jsonl", [kept])
    shape = shape_of(folder, cfg)
    assert shape.work.clip_s == 3.5
    assert shape.origin == "length: mean of 2 evaluated clips; tokens: assumed"


def test_steps_are_those_of_all_processes(folder, monkeypatch):
    forward, answer = ({"encoders": n, "connectors": 1, "LLM": 2} for n in (2e9, 3))
    monkeypatch.setattr(run_compute, "compute_of", lambda *_, **__: Compute(forward, 5e9, answer))
    found = compute_texts(folder, processes=2)
    assert found.pop("FLOPs of a training step").startswith(
        "14 GFLOP: 16 samples of 3.1 s of audio with 3 questions each, 19 tokens of prompt and 5 "
        "of answer (means of the training)"
    )
    kept = found.pop("- encoders, forward")
    assert kept.startswith("4 GFLOP, only for clips heard for the first time")
    assert found == {
        "- connectors, forward": "2 FLOP",
        "- LLM, forward": "4 FLOP",
        "- all, backward": "10 GFLOP",
        "FLOPs of an answer": "6 FLOP: 3.1 s of audio, 19 tokens of prompt and 5 of answer "
        "(means of the training)",
        "- encoders": "3 FLOP",
        "- connectors": "1 FLOP",
        "- LLM": "2 FLOP",
    }


def test_an_evaluation_has_an_answer_alone(folder, monkeypatch):
    cfg = {"model": MODEL, "run": {**RUN, "evaluate": True}}
    (folder / "config.yaml").write_text(yaml.safe_dump(cfg))
    asked = []

    def counted(cfg, work, trains):
        asked.append(trains)
        return Compute(None, 0, {"LLM": 7})

    monkeypatch.setattr(run_compute, "compute_of", counted)
    assert [*compute_texts(folder)] == ["FLOPs of an answer", "- LLM"]
    assert asked == [False]


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12 FLOP"), (96.34e9, "96.3 GFLOP"), (3.1e12, "3.1 TFLOP")]
)
def test_flops_have_three_digits(number, text):
    assert flops(number) == text


@pytest.mark.slow
def test_the_numbers_are_those_of_pal_plan(folder, tmp_path):
    recipe = str(RECIPES / "lal_stage1.yaml")
    cfg = load_config([recipe], [])
    (folder / "config.yaml").write_text(yaml.safe_dump(cfg.to_dict()))
    begun = time.process_time()
    found = compute_texts(folder)
    assert time.process_time() - begun < 3 * 2  # about 3 s; others use the machine too
    argv = ["plan", recipe, "--clip-seconds", "3.1", "--text-tokens", "24", "5"]
    assert main([*argv, "--json", str(tmp_path / "plan.json")]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())["flops_per_batch"]
    step = plan["without_checkpointing"]
    assert found["FLOPs of a training step"].startswith(flops(step["total"]) + ": 16 ")
    assert found["- all, backward"] == flops(step["backward"])
    assert found["- LLM, forward"] == flops(step["forward"]["llm"])
    encoders = sum(n for name, n in step["forward"].items() if name.startswith("encoders."))
    assert found["- encoders, forward"] == flops(encoders)
