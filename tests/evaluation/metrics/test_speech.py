"""Word errors counted by hand, and Whisper's normaliser by its own rules."""

import json

import pytest

from pal_plugin.evaluation.metrics.speech import whisper_normaliser, word_errors
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
    from pal_plugin.evaluation.metrics.speech import word_error_rate

    assert word_error_rate(["a dog barks", "rain"], ["the dog bark", "rain"]) == 1 / 3
    assert word_error_rate([""], ["rain"]) is None
