"""Targets of scenes, and the encoders' recipe in miniature."""

import torch
from safetensors.torch import load_file

from pal_plugin.encoders import build_encoder
from pal_plugin.pretraining import encoders
from pal_plugin.soundworld import LABELS, Event, Scene, Sound

from .conftest import WHISPER


def test_targets_mark_kind_and_pitch_where_they_sound():
    sweep = Event("sweep", (Sound(1.0, 0.5, -20.0, 200.0, 800.0),))
    bell = Event("bell", (Sound(0.0, 0.4, -20.0, 440.0), Sound(2.0, 0.4, -20.0, 440.0)))
    scene = Scene(3.0, "sweep", (bell, sweep), "sequence", -60.0, 0)
    target = encoders.scene_targets(scene, 250)
    kinds = target[:, : len(LABELS)]
    assert kinds[:, LABELS.index("bell")].nonzero()[:, 0].tolist() == [*range(20), *range(100, 120)]
    assert kinds[:, LABELS.index("sweep")].nonzero()[:, 0].tolist() == list(range(50, 75))
    assert kinds.sum() == 65
    pitches = target[:, encoders.WORDS_END :]
    assert pitches[10].nonzero()[:, 0].tolist() == [encoders.pitch_bin(440.0)]
    first, last = (pitches[i].nonzero()[:, 0] for i in (50, 74))
    assert first.min() == encoders.pitch_bin(200.0 * 4**0.05)
    assert last.max() == encoders.pitch_bin(200.0 * 4**0.95)


def test_pooling_keeps_what_sounds_for_a_third_of_a_cell():
    targets = torch.zeros(1, 10, 2)
    targets[0, :2, 0] = 1
    targets[0, 5:, 1] = 1
    assert encoders.pool_targets(targets, 2)[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_spec_augment_masks_a_band_and_a_stretch_with_the_mean():
    mel = torch.arange(4 * 30 * 20, dtype=torch.float32).view(4, 1, 30, 20)
    masked = encoders.spec_augment(mel, torch.Generator().manual_seed(1))
    changed = masked != mel
    assert changed.any()
    assert not changed.all()
    mean = mel.mean((-2, -1), keepdim=True).expand_as(mel)
    assert torch.equal(masked[changed], mean[changed])


def test_the_encoder_recipe_in_miniature(tmp_path):
    result = encoders.pretrain_encoders(
        tmp_path,
        encoders={"whisper": {**WHISPER, "checkpoint": None}},
        steps={"whisper": 2},
        clips=6,
        held_out=6,
        batch=2,
        workers=0,
        speech_share=0.5,
    )
    assert set(result["whisper"]) == {"kind", "word", "pitch"}
    again = build_encoder(**WHISPER, checkpoint=tmp_path / "whisper.safetensors")
    stored = load_file(tmp_path / "whisper.safetensors")
    assert torch.equal(
        again.state_dict()["encoder.conv1.weight"].half(), stored["encoder.conv1.weight"]
    )
