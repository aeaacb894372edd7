"""The run file of docs/adding.md's encoder, with a tiny AST in the public layout."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from cli import train
from transformers import ASTConfig, ASTForAudioClassification

from pal_plugin.config.trained import latest_run

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "projects" / "pal" / "ast_stage1.yaml"


def test_the_page_shows_the_files_own_lines():
    page = (ROOT / "docs" / "adding.md").read_text("utf-8").split("## A connector")[0]
    code, recipe = (re.search(f"```{k}\n(.*?)```", page, re.S)[1] for k in ("python", "yaml"))
    file = (ROOT / "pal_plugin" / "encoders" / "ast.py").read_text("utf-8").splitlines()
    shown = [line for line in code.splitlines() if line]
    assert len(shown) > 40
    assert [line for line in shown if line not in file] == []
    assert yaml.safe_load(recipe) == yaml.safe_load(RECIPE.read_text("utf-8"))


@pytest.mark.slow
def test_a_pretrained_ast_is_trained_on(tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ASTForAudioClassification(ASTConfig(**size, intermediate_size=16)).save_pretrained(
        tmp_path / "ast"
    )
    data = "datasets.pal_soundworld.build_info"
    options = [
        *(f"data.ast={tmp_path / 'ast'}", f"run.output_dir={tmp_path}", "run.steps_per_epoch=2"),
        *("run.max_epoch=1", "run.batch_size_train=4", "run.num_workers=0"),
        *("run.torch_threads=null", f"{data}.storage={tmp_path / 'cache'}", f"{data}.workers=1"),
        *(f"{data}.clips.train=12", f"{data}.clips.val=6", f"{data}.clips.test=6"),
    ]
    assert train(["--cfg-path", str(RECIPE), "--options", *options]) == 0
    run = latest_run("ast_stage1", tmp_path)
    facts = json.loads((run / "checkpoint_best.json").read_text())
    heard = {name for name, entry in facts["model"]["encoders"].items() if entry is not None}
    assert heard == {"ast", "whisper"}
    groups = ("general", "speech")
    assert set(facts["components"]) == {
        f"{part}.{g}" for part in ("connectors", "gains") for g in groups
    }
    assert (run / "metrics.json").is_file()
