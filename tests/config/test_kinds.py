"""Kinds of values."""

import math

import pytest

from pal_plugin.config.kinds import FLAG, Either, ListOf, Number, OneOf, Section, Text

SLIPS = (math.nan, math.inf, -math.inf, "many", "", [], [1], {}, True)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Number(), (0, 1e300, 0.5), (-1, None, *SLIPS)),
        (Number(1, 8, whole=True), (1, 8, 2.0), (0, 9, 1.5, 1e9, 10**400, None, *SLIPS)),
        (Number(above=0, below=1, null=True), (0.5, None), (0, 1, *SLIPS)),
        (Number(1, words=("auto",)), (1, "auto"), (0, None, *SLIPS)),
        (Number(-math.inf), (-1e300, 0), (None, *SLIPS)),
        (OneOf((None, True, "a"), "a"), (None, True, "a"), (1, 0, False, "b", [])),
        (FLAG, (True, False), (1, 0, None, "true")),
        (Text(), ("a",), ("", "  ", None, 1, ["a"], {})),
        (Text(null=True), ("a", None), ("", 1)),
        (Text(folder=True), ("a b", "qwen2.5-x", ".."), ("a/b", "/", "a\\b", "", None)),
        (ListOf(Number()), ([0], (1, 2)), ([], None, 1, "a", [-1], ["a"], [None], {})),
        (ListOf(Text(), least=0, null=True), ([], ["a"], None), (["a", 1], "a")),
        (
            ListOf(Number(), size=2, rising=True),
            ([1, 1], [1, 2]),
            ([2, 1], [1], [1, 2, 3], [1, "a"]),
        ),
        (Either((Number(), Section())), (1, {}), (-1, "a", None, [])),
        (Section(), ({},), (None, [], "a", 1)),
        (Section(null=True), ({}, None), ([], "a", 1)),
    ],
)
def test_what_a_kind_holds(kind, good, bad):
    assert [value for value in good if not kind.holds(value)] == []
    assert [value for value in bad if kind.holds(value)] == []


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Number(), "a number, 0 or more"),
        (Number(1, whole=True, null=True), "a whole number, 1 or more, or null"),
        (Number(most=3600, above=0), "a number above 0, at most 3600"),
        (Number(below=1), "a number, 0 or more, less than 1"),
        (Number(-math.inf), "a number"),
        (
            ListOf(Number(), size=2, rising=True, null=True),
            "[low, high], each a number, 0 or more, or null",
        ),
        (ListOf(Text(), least=0), "a list of any number, each a text"),
        (ListOf(Text()), "a list of 1 or more, each a text"),
        (Either((Number(), Section())), "a number, 0 or more, or a section of keys"),
        (Text(null=True), "a text, or null"),
        (Text(folder=True), "a folder name, without / and \\"),
    ],
)
def test_what_a_message_expects(kind, told):
    assert str(kind) == told
