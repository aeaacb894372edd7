"""One form for what reads as one, and two for what does not."""

import unicodedata

import pytest

from pal_plugin.utils.characters import APOSTROPHES, composed, is_mark, narrow, spaced


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("caf\u00e9\u200b", "caf\u00e9"),
        ("\ufeffdog", "dog"),
        ("in\u00adside", "inside"),
        ("\u202adog\u202c", "dog"),
        ("\u1100\u1161", "\uac00"),  # a Korean syllable
        ("plain", "plain"),
    ],
)
def test_what_is_read_as_one_is_one(text, one):
    assert composed(text) == one
    assert composed(unicodedata.normalize("NFD", one)) == one


@pytest.mark.parametrize(
    "text", ["\u0645\u06cc\u200c\u0631\u0648\u0645", "x\u00b2", "\u0915\u093f", "\u0e01\u0e33"]
)
def test_what_tells_words_apart_stays(text):
    assert composed(text) == text
    assert narrow(text) == text


def test_wide_and_half_width_forms_are_the_usual_ones():
    assert narrow("\uff22\uff09\u3000\uff15\uff05\uff1a") == "B) 5%:"
    assert narrow("\uff76\uff9e") == "\u30ac"


def test_marks_are_those_of_any_script():
    assert all(map(is_mark, "?\u00bf\u3002\u060c\u0964\u201c\u2014\u2026\u20ac+"))
    assert not any(map(is_mark, "a1\u72d7\u093f \u0301"))
    assert all(not c.isspace() for c in APOSTROPHES)


@pytest.mark.parametrize(
    "unseen", ["\u034f", "\u061c", "\u180b", "\ufe0e", "\ufe0f", "\U000e0041", "\U000e0100"]
)
def test_selectors_and_tags_are_never_seen(unseen):
    assert composed(f"d{unseen}og") == "dog"


def test_characters_of_scripts_without_spaces_stand_alone():
    assert spaced("3\u53ea\u732b").split() == ["3", "\u53ea", "\u732b"]
    assert spaced("\u0e44\u0e14\u0e49").split() == ["\u0e44", "\u0e14\u0e49"]  # with its tone mark
    assert spaced("dog \uac15\uc544\uc9c0") == "dog \uac15\uc544\uc9c0"  # Korean writes spaces
