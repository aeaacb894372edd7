"""Word errors counted by hand, and Whisper's normaliser by its own rules."""

import json

import pytest

from pal_plugin.evaluation.metrics.speech import (
    whisper_normaliser,
    word_error_rate,
    word_errors,
)
from pal_plugin.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("right", "said", "errors", "words"),
    [
        ("one two three", "one two three", 0, 3),
        ("one two three", "one three", 1, 3),
        ("one two three", "one too three four", 2, 3),
        ("one", "", 1, 1),
        ("", "anything", 0, 0),
        ("One.", "one", 1, 1),  # raw: nothing is normalised
    ],
)
def test_errors_and_words(right, said, errors, words):
    assert word_errors(right, said) == (errors, words)


def test_whispers_normaliser_writes_numbers_and_contractions_alike(tmp_path):
    normalise, name = whisper_normaliser()
    assert normalise("Twenty-one dollars, isn't it?") == normalise("$21 is not it")
    assert normalise("colour") == "colour"
    assert "without its table of spellings" in name
    (tmp_path / "normalizer.json").write_text(json.dumps({"colour": "color"}))
    normalise, name = whisper_normaliser(tmp_path)
    assert normalise("Colour!") == "color"
    assert "1 spellings" in name
    with pytest.raises(ConfigError, match=r"normalizer\.json"):
        whisper_normaliser(tmp_path / "gone.json")


def test_the_rate_of_several_transcripts_is_of_all_their_words():
    assert word_error_rate(["a dog barks", "rain"], ["the dog bark", "rain"]) == 1 / 3
    assert word_error_rate([""], ["rain"]) is None


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ("don't stop", "don\u2019t stop"),
        ("don't stop", "don\u02bct stop"),
        ("she said hello", "\u201cShe said: hello\u2026\u201d"),
        ("well yes", "well \u2014 yes"),
        ("ten-year plan", "ten\u2011year plan"),
        ("ten-year plan", "ten\u2013year\u00a0plan"),
        ("qu\u00e9 tal", "\u00bfqu\u00e9 tal?"),
        ("bonjour", "\u00ab\u202fbonjour\u202f\u00bb"),
        ("hello", "hello\u3002"),
        ("caf\u00e9", "cafe\u0301"),
        ("inside", "in\u00adside\ufeff"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u0631\u062d\u0628\u0627\u061f"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947\u0964"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),
    ],
)
def test_marks_and_forms_of_characters_are_no_errors(right, said):
    assert word_error_rate([right], [said]) == 0
    assert word_error_rate([said], [right]) == 0


def test_other_words_are_errors_in_any_script():
    assert word_error_rate(["\u0915\u093f \u092e"], ["\u0915\u0940 \u092e"]) == 0.5
    assert word_error_rate(["\u00e9t\u00e9"], ["ete"]) == 1
