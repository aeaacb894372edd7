"""Texts from files: what is none, what is damaged, and one form for a label."""

import pytest

from pal_plugin.corpora.texts import (
    checked_label,
    checked_text,
    one_form,
    same_in_print,
    text_fault,
)
from pal_plugin.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (3, "got 3 (int)"),
        (None, "got None (NoneType)"),
        (float("nan"), "got nan (float)"),
        (["a"], "got ['a'] (list)"),
        ("", "got ''"),
        (" \n", "got ' \\n'"),
        ("\u200b", "got '\\u200b'"),
        ("caf\udce9", "bytes that are not UTF-8 in 'caf\\xe9'; save the file as UTF-8"),
        ("\ud83d", "unpaired surrogate in '\\ud83d'"),
        ("a\0b", "a NUL character in 'a\\x00b'"),
    ],
)
def test_what_is_no_text_is_told(value, fault):
    assert fault in text_fault(value)
    with pytest.raises(ConfigError, match="expected text as label, got"):
        checked_text(value, "label")


@pytest.mark.parametrize("text", ["caf\u00e9", "\U0001f600", "\u72d7", "2"])
def test_a_text_of_any_script_is_one(text):
    assert text_fault(text) is None
    assert checked_text(f" {text} ", "label") == text


@pytest.mark.parametrize(
    "label",
    [
        "cafe\u0301 noise",
        "caf\u00e9\u200b noise",
        "caf\u00e9\u00a0 noise",
        "\ufeffcaf\u00e9 \uff4eoise",
    ],
)
def test_a_label_has_one_form(label):
    assert one_form(label) == checked_label(f" {label}", "label") == "caf\u00e9 noise"


def test_labels_that_read_the_same_are_told():
    (told,) = same_in_print(["dog's bark", "rain", "dog\u2019s bark", "Rain"])
    assert "labels \"dog's bark\", 'dog\u2019s bark' look the same" in told
    assert len(same_in_print(["off-road", "off\u2010road", "\ufb01re", "fire"])) == 2
