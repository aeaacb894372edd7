"""Voices: held apart by variant, and all of them there."""

from pathlib import Path

from pal_plugin.spoken.settings import SPLITS
from pal_plugin.spoken.voices import ACCENTS, OWN_ACCENTS, voices


def variants(split):
    return {voice.partition("+")[2] for voice in voices(split)}


def accents(split):
    return {voice.partition("+")[0] for voice in voices(split)}


def test_no_variant_is_in_two_splits():
    assert sum(len(variants(split)) for split in SPLITS) == len(set().union(*map(variants, SPLITS)))
    assert len(variants("train")) > 30
    assert min(len(variants("val")), len(variants("test"))) >= 4


def test_val_and_test_have_an_accent_of_their_own():
    assert accents("train") == set(ACCENTS)
    for split, accent in OWN_ACCENTS.items():
        assert [name for name in SPLITS if accent in accents(name)] == [split]


def test_every_variant_is_a_file_of_the_synthesiser():
    """A variant that is not there would be left out without a word."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path(), "voices", "!v")
    named = set().union(*map(variants, SPLITS))
    assert named <= {path.name for path in folder.iterdir()}
