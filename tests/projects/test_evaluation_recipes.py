"""The recipes of projects/pal/evaluate: each names a builder and tasks that exist, and its files
are where PAL_DATA says."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

# isort: split

from pal_plugin.config.registry import DATASETS, TASKS
from pal_plugin.config.run_config import load_config
from pal_plugin.corpora import prompts
from pal_plugin.corpora.readers import READERS
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "projects" / "pal" / "evaluate"
DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
#: What LTU and GAMA asked, by recipe; the other wordings are tested with their readers.
PROMPTS = {
    "audiocaps": "Close-ended question: Write an audio caption describing the sound, "
    "in AudioCaps style.",
    "clotho": "Close-ended question: Create a caption for audio, in Clotho style.",
}


def config(name, *options):
    options = ["model.checkpoint=x", *options]
    return load_config(RECIPES / f"{name}.yaml", options)


def test_there_is_a_recipe_for_each_benchmark():
    there = {"airbench_chat", "airbench_foundation", "audiocaps", "audioset", "clotho", "compa_r"}
    there |= {"dcase17", "esc50", "fsd50k", "librispeech", "mmau", "muchomusic", "vggsound"}
    assert there | {"vocalsound", "clotho_aqa"} == set(NAMES)
    text = DOCS.read_text("utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_can_be_loaded(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    cfg = config(name)
    assert TASKS.get(cfg.run_cfg.task) is InstructTask
    task = InstructTask.setup_task(cfg)
    assert task.select_by is None
    assert cfg.run_cfg.masked_audio
    ((dataset, section),) = cfg.datasets_cfg.items()
    builder = DATASETS.get(dataset)
    assert builder.format in READERS
    info = OmegaConf.to_container(section.build_info, resolve=True)
    assert list(cfg.run_cfg.test_splits) == list(info["annotations"])
    assert not cfg.run_cfg.valid_splits
    assert not info["allow_missing"]
    # Nothing is there: the first thing that is missing is named with its place.
    builder = builder(section)
    builder.splits = set(cfg.run_cfg.test_splits)
    with pytest.raises(ConfigError, match=rf"at {tmp_path}/"):
        builder.build_datasets()
    assert prompts.CLASSIFY == (
        "Close-ended question: Write an audio caption describing the sound."
    )
    assert {"audiocaps": prompts.AUDIOCAPS, "clotho": prompts.CLOTHO} == PROMPTS


def test_without_pal_data_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("PAL_DATA", raising=False)
    with pytest.raises(ConfigError, match="PAL_DATA"):
        config("esc50")
