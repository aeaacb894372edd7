"""The recipe of real clips in miniature."""

import csv

import soundfile
import torch
from safetensors.torch import load_file

from pal_plugin.encoders import build_encoder
from pal_plugin.pretraining import clips, encoders

from .conftest import WHISPER


def test_the_clip_recipe_in_miniature(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = []
    labelled = [
        *(("dog", "animals", "train"), ("cat", "animals", "train"), ("one", "digits", "train")),
        *(("two", "digits", "train"), ("cow", "animals", "val")),
    ]
    for i, (category, domain, split) in enumerate(labelled):
        wave = 0.1 * torch.randn(4000, generator=generator).numpy()
        soundfile.write(tmp_path / f"{i}.wav", wave, 8000)
        rows.append((f"{i}.wav", category, domain, split))
    rows.append(("not_here.wav", "cello", "music", "train"))
    with open(tmp_path / "splits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "category", "domain", "split"), *rows])
    start = build_encoder(**WHISPER)
    encoders.save_half(start, tmp_path / "start.safetensors")
    counts = clips.adapt_encoders(
        tmp_path / "out",
        encoders={"whisper": {**WHISPER, "checkpoint": str(tmp_path / "start.safetensors")}},
        audio=str(tmp_path),
        annotations=str(tmp_path / "splits.csv"),
        steps={"whisper": 2},
        variants={"animals": 2, "digits": 1, "music": 0},
        augment={"gain_db": [-3.0, 3.0]},
        batch=4,
        workers=0,
    )
    assert counts == {"animals": 2, "digits": 2}
    name = "encoder.conv1.weight"
    before = load_file(tmp_path / "start.safetensors")[name]
    assert not torch.equal(load_file(tmp_path / "out" / "whisper.safetensors")[name], before)
