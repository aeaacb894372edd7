"""Sounds, events and scenes as data: times, levels, and what stands in a shard's JSON."""

import dataclasses
import json

import pytest

from pal_plugin.soundworld.events import LABELS, NAMES, Event, Sound, Speaker, Word

BELLS = Event("bell", (Sound(0.5, 0.25, -30.0, 440.0), Sound(1.0, 0.5, -20.0, 440.0)))
SPOKEN = Event(
    "speech",
    (Sound(0.0, 1.0, -25.0, 120.0),),
    (Word("two", 0.0, 0.4), Word("red", 0.5, 0.5)),
    Speaker(120.0, 1.0, 1.0),
)


def test_an_event_lasts_from_its_first_sound_to_its_last():
    assert (BELLS.onset_s, BELLS.offset_s, BELLS.duration_s, BELLS.count) == (0.5, 1.5, 1.0, 2)
    assert (BELLS.pitch_hz, BELLS.level_db) == (440.0, -20.0)
    assert (BELLS.direction, BELLS.transcript) == (None, None)
    assert SPOKEN.transcript == "two red"


@pytest.mark.parametrize(("end_hz", "direction"), [(900.0, "up"), (200.0, "down")])
def test_a_sweep_goes_up_or_down(end_hz, direction):
    assert Event("sweep", (Sound(0.0, 1.0, -30.0, 440.0, end_hz),)).direction == direction


def test_json_has_words_and_a_speaker_for_speech_alone():
    spoken, bells = (json.loads(json.dumps(event.as_dict())) for event in (SPOKEN, BELLS))
    assert spoken["words"][1] == {"word": "red", "onset_s": 0.5, "duration_s": 0.5}
    assert spoken["speaker"] == {"f0_hz": 120.0, "tract": 1.0, "rate": 1.0}
    assert bells.keys() == spoken.keys() - {"words", "speaker"}
    assert [sound["onset_s"] for sound in bells["sounds"]] == [0.5, 1.0]
    assert bells["count"] == 2


def test_what_happened_cannot_be_changed_and_every_kind_has_its_names():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BELLS.kind = "drip"
    assert list(NAMES) == LABELS
    assert all(len(names) == 4 for names in NAMES.values())
