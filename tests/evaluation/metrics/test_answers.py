"""What is the same answer and what is not."""

import pytest

from pal_plugin.evaluation.metrics.answers import is_correct, normalise, spoken_words
from pal_plugin.evaluation.metrics.matching import string_match
from pal_plugin.evaluation.metrics.multiple_choice import mmau_rule, read_choice

DIFFERENT = [
    ("C#", "C"),
    ("C++", "C"),
    ("F\u266f", "F"),
    ("-5", "5"),
    ("5%", "$5"),
    ("5%", "5"),
    ("$5", "5"),
    ("1.5", "15"),
    ("1.5", "1 5"),
    (".5", "5"),
    ("<5", ">5"),
    ("0:15", "0 15"),
    ("4/4", "44"),
    ("Vitamin A", "Vitamin"),
    ("A minor", "minor"),
    ("A", "the"),
    ("कि", "की"),
    ("x\u00b2", "x2"),
    ("\u0645\u06cc\u200c\u0631\u0648\u0645", "\u0645\u06cc\u0631\u0648\u0645"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_tells_answers_apart_is_kept(one, other):
    assert normalise(one) != normalise(other)
    assert not is_correct(one, [other])
    for right in (0, 1):
        choices = [one, other, "something else"]
        assert read_choice(choices[right], choices) == right or len(choices[right]) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The C#.", "c#"),
        ("\u22125", "-5"),
        ("5 %", "5%"),
        ("$ 5", "$5"),
        ("1,000", "1000"),
        ("0.5", ".5"),
        ("(5%)", "5%!"),
        ("a dog, a cat", "dog cat"),
        ("noise_burst", "noise-burst"),
        ("\u201crain\u201d", "rain"),
        ("10-20", "10 - 20"),
        ("F\u266f", "F#"),
        ("it\u2019s", "its"),
        ("it\u02bcs", "it\u00b4s"),
        ("caf\u00e9", "cafe\u0301"),
        ("dog\u200b", "dog"),
        ("\uff24\uff4f\uff47\u3002", "dog"),
        ("\uff15\uff05", "5%"),
        ("\u20135", "-5"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00ab\u043a\u043e\u0442\u00bb", "\u041a\u043e\u0442"),
        ("\u72d7\u3002", "\u300c\u72d7\u300d"),
        ("\uff1f", "?"),
    ],
)
def test_what_is_only_written_in_another_way_is_the_same(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("said", "choices", "meant"),
    [
        ("It is -5.", ["5", "-5"], 1),
        ("The answer is 5%.", ["$5", "5%"], 1),
        ("The key is C#.", ["C", "C#", "D"], 1),
        ("about 1.5 seconds", ["15 seconds", "1.5 seconds"], 1),
    ],
)
def test_choices_that_differ_by_a_mark_are_read(said, choices, meant):
    assert read_choice(said, choices) == meant


def test_mmaus_published_rule_knows_no_marks():
    assert mmau_rule("C#", "C", ["C#", "D"])
    assert mmau_rule("-5", "5", ["-5", "7"])


def test_a_text_of_marks_is_compared_as_it_is():
    assert is_correct("?", ["?"])
    assert not is_correct("?", ["!"])
    assert not is_correct("", ["?"])


def test_a_label_with_a_mark_is_matched_in_a_text():
    assert string_match("The chord is C#.", ["C", "C#"]) == "C#"


def test_a_label_is_matched_however_its_characters_are_written():
    assert string_match("\u201cThe cafe\u0301\u201d\u2026", ["caf\u00e9", "dog"]) == "caf\u00e9"
    assert string_match("a dog\u2019s bark", ["dog's bark", "bark"]) == "dog's bark"


def test_word_errors_are_counted_on_words_alone():
    assert spoken_words("It's 5%, the -5") == "its 5 5"
    assert spoken_words("noise_burst $5 <a> the") == "noise burst 5"
    assert spoken_words("The A!") == "the a"  # nothing else is left


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u0130stanbul", "istanbul"),
        ("\u0661\u0662", "12"),
        ("1,000 dogs", "1000 dogs"),
        ("1\u202f000", "1000"),
        ("don\u055at", "don't"),
        ("dog\ufe0f", "dog"),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d\u4e16\u754c"),
    ],
)
def test_what_other_scripts_write_in_another_way_is_the_same(one, other):
    assert normalise(one) == normalise(other)
    assert spoken_words(one) == spoken_words(other)


def test_labels_are_found_in_texts_without_spaces():
    assert (
        string_match("\u8fd9\u662f\u72d7\u53eb\u58f0\u3002", ["\u72d7\u53eb", "\u732b\u53eb"])
        == "\u72d7\u53eb"
    )
    assert string_match("catfish", ["cat"]) is None
