"""What is drawn can be played on the instrument, and fits into a clip."""

import numpy as np
import pytest

from pal_plugin.notes.phrases import DRUMS, INSTRUMENTS, LABELS, draw_phrase


def phrases(label, count=200):
    return [draw_phrase(np.random.default_rng([1, i]), label) for i in range(count)]


def test_ten_labels_in_order():
    assert len(LABELS) == 10
    assert sorted(LABELS) == LABELS
    assert set(LABELS) == INSTRUMENTS.keys() | DRUMS.keys()


@pytest.mark.parametrize("label", LABELS)
def test_phrases_are_the_instruments(label):
    drawn = phrases(label)
    keys = {note.key for phrase in drawn for note in phrase.notes}
    if label in DRUMS:
        assert keys == set(DRUMS[label])
        assert {phrase.program for phrase in drawn} == {None}
    else:
        instrument = INSTRUMENTS[label]
        assert {phrase.program for phrase in drawn} == set(instrument.programs)
        assert min(keys) >= instrument.lowest
        assert max(keys) <= instrument.highest
        assert len(keys) > 20
    for phrase in drawn:
        onsets = [note.onset_s for note in phrase.notes]
        assert onsets[0] == 0.0
        assert onsets == sorted(onsets)
        assert max(note.onset_s + note.seconds for note in phrase.notes) < 9.0
        assert all(note.seconds > 0 and 1 <= note.velocity <= 127 for note in phrase.notes)
    assert {len(phrase.notes) > 1 for phrase in drawn} == {True, False}


def test_what_is_blown_or_bowed_is_held():
    assert {label for label in LABELS if draw_phrase(np.random.default_rng(0), label).held} == {
        "cello",
        "clarinet",
        "double bass",
        "flute",
        "saxophone",
        "violin or fiddle",
    }


def test_the_same_draw_is_the_same_phrase():
    assert phrases("flute", 5) == phrases("flute", 5)
    assert len(set(phrases("flute", 5))) == 5
