"""`train.py --dry-run` and `pal plan` from end to end."""

import json
from pathlib import Path

import pytest
from cli import train

from pal_plugin.commands.main import main
from pal_plugin.planning import shapes
from pal_plugin.utils.hub import HubError

RECIPES = Path(__file__).resolve().parents[2] / "projects" / "pal"


def test_a_pocket_recipe_is_planned_and_nothing_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--cfg-path", str(RECIPES / "pal_stage2.yaml"), "--dry-run", "--world-size", "8"]
    argv += ["--gpu", "24", "--json", "plan.json", "--options", "run.accum_grad_iters=2"]
    argv += ["run.parallel=fsdp", "run.activation_checkpointing=true"]
    assert train(argv) == 0
    text = capsys.readouterr().out
    for part in ("plan of pal_stage2", "llm.lora", "PLITS, prepended", "TFLOP", "fsdp", "fits 24"):
        assert part in text
    facts = json.loads((tmp_path / "plan.json").read_text())
    assert facts["recipe"] == "pal_stage2"
    assert facts["samples_per_step"] == 8 * 16 * 4 * 2
    assert facts["tokens_per_sample"] == {"plits": 100, "lal": 160, "text": 128}
    assert facts["chosen"] == "fsdp + checkpointing"
    assert set(facts["memory"]) == {
        *("ddp", "ddp + checkpointing", "fsdp", "fsdp + checkpointing"),
    }
    assert all(of["fits"] for of in facts["memory"].values())
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.slow
def test_a_full_size_recipe_is_planned_by_its_parts(tmp_path, monkeypatch, capsys):
    def unreachable(name, patterns):
        raise HubError(f"cannot fetch {name!r}.")

    monkeypatch.setattr(shapes, "snapshot", unreachable)
    monkeypatch.setenv("PAL_DATA", "data")
    facts = tmp_path / "plan.json"
    assert main(["plan", "stage2", "llama3.2_1b", "lal_delayed", "--json", str(facts)]) == 0
    assert "plan of llama3.2_1b_lal_delayed_stage2" in capsys.readouterr().out
    assert json.loads(facts.read_text())["recipe"] == "llama3.2_1b_lal_delayed_stage2"
    assert main(["plan", "stage2", "llama3.2_1b", "llama3.2_3b", "lal"]) == 2
    assert "expected one LLM per recipe, got llama3.2_1b and llama3.2_3b" in capsys.readouterr().err


def test_mistakes_are_one_message(capsys):
    argv = ["--cfg-path", str(RECIPES / "lal_stage1.yaml"), "--dry-run"]
    assert train([*argv, "--gpu", "h900"]) == 2
    assert "--gpu is 'h900'" in capsys.readouterr().err
    assert train([*argv, "--options", "model.stage.connectors=frozen"]) == 2
    assert "no parameter is trainable" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train([*argv, "--world-size", "many"])
