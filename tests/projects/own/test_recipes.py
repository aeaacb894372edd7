"""Recipes for clips of one's own: they end with a model that says the labels when it is asked."""

import csv

import numpy as np
import pytest
import soundfile

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.datasets.builders import ClipsBuilder
from pal_plugin.models.audio_llm import AudioLLM

RATE_HZ, SECONDS = 16000, 1.5
#: Words that the pocket LLM has never read.
LABELS = ("kettle", "old gate", "zither")


def sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """A steady hiss, slow creaks of a low pitch, or plucked high notes."""
    time_s = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    if label == "kettle":
        return rng.uniform(0.1, 0.3) * rng.standard_normal(time_s.size).clip(-3, 3) / 3
    low = label == "old gate"
    pitch_hz = rng.uniform(80, 120) if low else rng.uniform(800, 1600)
    strokes = time_s * (2 if low else 5) % 1
    tone = np.sign(np.sin(2 * np.pi * pitch_hz * time_s)) if low else np.sin(
        2 * np.pi * pitch_hz * time_s
    )  # fmt: skip
    return rng.uniform(0.2, 0.5) * tone * np.exp(-4 * strokes)


@pytest.fixture
def mine(tmp_path):
    """`options` of 24 clips, 8 per label, and the folder that they are in."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        label = LABELS[number % 3]
        soundfile.write(tmp_path / f"{number}.wav", sound(label, rng), RATE_HZ)
        rows.append((f"{number}.wav", label))
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "label"), *rows])
    return [f"data.audio={tmp_path}", f"data.annotations={tmp_path / 'clips.csv'}"], tmp_path


@pytest.mark.parametrize("name", ["pocket", "small"])
def test_a_part_of_each_label_is_held_out(name, mine):
    cfg = load_config(find_recipes([f"own/{name}"]), mine[0])
    datasets = ClipsBuilder(cfg.datasets_cfg.own).build_datasets()
    train, val = ({clip.path for clip in datasets[split].clips} for split in ("train", "val"))
    assert not train & val
    assert len(train | val) == 24
    labels = [clip.label for clip in datasets["val"].clips]
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, 2)


def test_columns_can_say_what_is_held_out(mine):
    options, folder = mine
    rows = list(csv.reader((folder / "clips.csv").open()))
    with (folder / "clips.csv").open("w", newline="") as file:
        part = ["set", *("val" if n < 3 else "train" for n in range(24))]
        csv.writer(file).writerows([*row, which] for row, which in zip(rows, part, strict=True))
    asked = ["data.train={set: train}", "data.val={set: val}"]
    cfg = load_config(find_recipes(["own/pocket"]), [*options, *asked])
    datasets = ClipsBuilder(cfg.datasets_cfg.own).build_datasets()
    assert sorted(clip.path.name for clip in datasets["val"].clips) == ["0.wav", "1.wav", "2.wav"]
    assert len(datasets["train"]) == 21


@pytest.mark.slow
def test_a_model_trained_on_clips_of_ones_own_says_what_they_are(mine, tmp_path):
    from pal_plugin.commands.main import main

    options, _ = mine
    fewer = ["run.steps_per_epoch=60", "run.batch_size_train=8", "run.num_workers=0"]
    where = f"run.output_dir={tmp_path / 'output'}"
    job = ["--job-id", "mine", "--options", *options, *fewer, where]
    assert main(["train", "own/pocket", *job]) == 0
    model = AudioLLM.from_run(tmp_path / "output" / "mine")
    rng = np.random.default_rng(1)  # other takes than those of the folder
    new = [(label, sound(label, rng).astype(np.float32)) for label in LABELS for _ in range(4)]
    said = [model.ask((clip, RATE_HZ), "What do you hear?") for _, clip in new]
    right = sum(text == label for text, (label, _) in zip(said, new, strict=True))
    assert right >= 10, list(zip(said, (label for label, _ in new), strict=True))
