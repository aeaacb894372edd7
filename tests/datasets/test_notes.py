"""`pal_notes`: one closed question about each clip, of the splits that a run uses."""

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

import pal_plugin.notes
from pal_plugin.config.registry import CONFIGS, DATASETS
from pal_plugin.utils.errors import ConfigError


def builder(tmp_path, **info):
    config = OmegaConf.load(CONFIGS / "datasets" / "pal_notes.yaml").datasets.pal_notes
    config.build_info.update({"storage": str(tmp_path), "soundfont": None, **info})
    encoders = {"whisper": {"type": "whisper", "features": {"window_s": 1.0}}}
    for use in ("train", "eval"):
        config.audio_processor[use].encoders = encoders
    return DATASETS.get("pal_notes")(config)


def test_clips_are_asked_about(tmp_path, monkeypatch):
    asked = []

    def ensure_clips(cache, soundfont, split, clips, seed, workers):
        asked.append((split, clips, seed))
        path = tmp_path / f"{split}.flac"
        soundfile.write(path, np.zeros(1600), 16000)
        return [(path, "flute")] * clips

    monkeypatch.setattr(pal_plugin.notes, "ensure_clips", ensure_clips)
    notes = builder(tmp_path, clips={"train": 2, "val": 1, "test": 0}, seed=5)
    datasets = notes.build_datasets()
    assert asked == [("train", 2, 5), ("val", 1, 5)]
    item = datasets["val"][0]["items"][0]
    assert item["question"] == "Which instrument plays?"
    assert item["question_type"] == "notes"
    assert item["answer"] == "flute"
    assert datasets["train"].candidates == pal_plugin.notes.LABELS
    questions = {datasets["train"][i]["items"][0]["question"] for i in range(20)}
    assert questions == {"Which instrument plays?", "What do you hear?"}
    notes.splits = {"val"}
    assert list(notes.build_datasets()) == ["val"]


def test_without_a_soundfont_it_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="set PAL_SOUNDFONT or build_info.soundfont"):
        builder(tmp_path).build_datasets()
