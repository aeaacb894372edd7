"""Clips are written once, do not depend on what was written before, and go stale with nothing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pal_plugin.notes import LABELS, ensure_clips
from pal_plugin.notes.clips import render
from pal_plugin.notes.player import Player
from pal_plugin.utils.errors import ConfigError


def made(tmp_path, soundfont, split="train", clips=12, **more):
    return ensure_clips(tmp_path / "cache", soundfont, split, clips, workers=1, **more)


def test_they_are_written_once(synthesiser, soundfont, tmp_path, monkeypatch):
    clips = made(tmp_path, soundfont)
    assert [label for _, label in clips] == [*LABELS, *LABELS[:2]]
    for path, label in clips:
        assert path.name.startswith(label.replace(" ", "_"))
        assert soundfile.info(path).samplerate == 16_000
    assert json.loads((clips[0][0].parent / "index.json").read_text())["clips"] == 12
    monkeypatch.setattr("pal_plugin.notes.clips.write_clips", None)
    assert made(tmp_path, soundfont) == clips


def test_a_clip_depends_on_its_number_alone(synthesiser, soundfont, tmp_path):
    clips = made(tmp_path, soundfont)
    alone = render(Player(soundfont), "train", 0, 3)
    written, _ = soundfile.read(clips[3][0], dtype="float32")
    np.testing.assert_allclose(written, alone, atol=2**-15)
    os.unlink(clips[3][0])
    other = clips[4][0].stat().st_mtime_ns
    assert made(tmp_path, soundfont) == clips  # one was lost: it alone is made again
    again, _ = soundfile.read(clips[3][0], dtype="float32")
    assert np.array_equal(again, written)
    assert clips[4][0].stat().st_mtime_ns == other


def test_other_settings_are_another_folder(synthesiser, soundfont, tmp_path):
    first = made(tmp_path, soundfont, clips=1)
    assert made(tmp_path, soundfont, clips=1, seed=1)[0][0].parent != first[0][0].parent
    val = made(tmp_path, soundfont, "val", clips=1)
    assert val[0][0].read_bytes() != first[0][0].read_bytes()
    soundfont.write_bytes(b"RIFF, changed")
    assert made(tmp_path, soundfont, clips=1)[0][0].parent != first[0][0].parent


def test_what_is_missing_is_named(synthesiser, tmp_path, soundfont):
    with pytest.raises(ConfigError, match=r"set PAL_SOUNDFONT .*fluid-soundfont-gm"):
        made(tmp_path, None)
    with pytest.raises(ConfigError, match="no file /absent.sf2"):
        made(tmp_path, Path("/absent.sf2"))
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        made(tmp_path, soundfont, "dev")
    with pytest.raises(ConfigError, match="at least 1 clip in val, got 0"):
        made(tmp_path, soundfont, "val", 0)
    assert not (tmp_path / "cache").exists()
