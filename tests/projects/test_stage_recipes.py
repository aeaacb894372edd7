"""The recipes of projects/pal, stage after stage, on a few scenes and for a few steps."""

import json
from pathlib import Path

import pytest
from cli import evaluate, train

from pal_plugin.config.trained import latest_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


# PAL has both routes; all three stages of all four types are a part of the slow tests.
SLOW = [
    pytest.param(kind, (1, 2, 3), marks=pytest.mark.slow, id=kind)
    for kind in ("pal", "lal", "plits", "flamingo")
]


@pytest.mark.parametrize(("kind", "stages"), [pytest.param("pal", (1,), id="first"), *SLOW])
def test_stages_follow_each_other(kind, stages, cache, tmp_path):
    data = "datasets.pal_soundworld.build_info"
    options = [
        *(f"run.output_dir={tmp_path}", "run.steps_per_epoch=2", "run.max_epoch=1"),
        *("run.batch_size_train=4", "run.num_workers=0", "run.torch_threads=null"),
        *(f"{data}.storage={cache}", f"{data}.workers=1", f"{data}.clips.train=24"),
        *(f"{data}.clips.val=12", f"{data}.clips.test=12"),
    ]
    components = {1: set(), 2: {"llm.lora"}, 3: {"llm.lora"}}
    for stage in stages:
        recipe = ROOT / "projects" / "pal" / f"{kind}_stage{stage}.yaml"
        assert train(["--cfg-path", str(recipe), "--options", *options]) == 0
        run = latest_run(f"{kind}_stage{stage}", tmp_path)
        facts = json.loads((run / "checkpoint_best.json").read_text())
        trained = {"connectors.general", "connectors.speech"} | components[stage]
        trained |= {"cross_attention"} if kind == "flamingo" else set()
        by_lal = {"lal": ("general", "speech"), "pal": ("general",)}.get(kind, ())
        trained |= {f"gains.{group}" for group in by_lal}
        assert set(facts["components"]) == trained
        metrics = json.loads((run / "metrics.json").read_text())
        figures = metrics["val"]["classification"]
        assert {"accuracy", "accuracy_masked_audio", "chance"} <= figures.keys()
        assert figures["chance"] == pytest.approx(1 / 12)
        assert ("test" in metrics) == (stage == 3)
        routing = facts["model"]["routing"]
        hybrid = {"general": "lal", "speech": "plits"}
        for group in ("general", "speech"):
            expected = hybrid[group] if kind == "pal" else kind
            assert routing[group]["integration"] == expected

    if len(stages) < 3:
        return
    argv = ["--cfg-path", str(recipe), "--options", *options, "run.name=again"]
    assert evaluate([*argv, f"model.checkpoint={run}"]) == 0
    again = next(tmp_path.glob("eval-again-*/metrics.json"))
    assert json.loads(again.read_text()) == metrics
