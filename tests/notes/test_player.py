"""Notes begin and end where they should; what is missing is named."""

import sys

import numpy as np
import pytest

from pal_plugin.notes.phrases import Note, Phrase
from pal_plugin.notes.player import PLAYED_HZ, Player
from pal_plugin.utils.errors import ConfigError


def test_a_phrase_is_played_note_by_note(synthesiser, soundfont):
    player = Player(soundfont)
    notes = (Note(0.0, 0.5, 60, 127), Note(0.5, 0.25, 60, 64))
    sound = player.play(Phrase(71, notes, held=True), tail_s=0.25)
    assert sound.shape == (PLAYED_HZ,)
    assert np.abs(sound[: PLAYED_HZ // 2]).max() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(sound[PLAYED_HZ // 2 : 36_000]).max() == pytest.approx(64 / 127, abs=1e-3)
    assert np.abs(sound[36_000:]).max() == 0.0
    assert player._synth.calls == [
        (0, 7, 0, 71),
        ("on", 0, 60, 127, 0),
        ("off", 0, 60, 24_000),  # before the key goes down again
        ("on", 0, 60, 64, 24_000),
        ("off", 0, 60, 36_000),
    ]


def test_drums_have_their_channel_and_bank(synthesiser, soundfont):
    player = Player(soundfont)
    player.play(Phrase(None, (Note(0.0, 0.1, 38, 100),), held=False), tail_s=0.1)
    assert player._synth.calls[0] == (9, 7, 128, 0, True)
    assert player._synth.calls[1][:3] == ("on", 9, 38)


def test_what_is_missing_is_named(synthesiser, soundfont, monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="no soundfont at .*absent.sf2"):
        Player(tmp_path / "absent.sf2")
    soundfont.write_bytes(b"text")
    with pytest.raises(ConfigError, match="cannot read .*small.sf2 as a soundfont: no RIFF"):
        Player(soundfont)
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(ConfigError, match="pip install --no-deps tinysoundfont"):
        Player(soundfont)
