"""The pieces of an answer are its text: no part of a character, of a stop string, nothing lost."""

import random
from types import SimpleNamespace

import pytest

from pal_plugin.models.written import Written

END = 0


class Bytes:
    """A tokenizer with a token for each byte but 0, which is the end; 1 is special too."""

    def decode(self, ids, skip_special_tokens=False):
        assert skip_special_tokens
        return bytes(i for i in ids if i > 1).decode("utf-8", "replace")


TEXT = SimpleNamespace(tokenizer=Bytes(), end_ids=[END])


def write(said, stop=(), end=True):
    written, pieces = Written(TEXT, stop), []
    for token in [*said.encode(), *[END] * end]:
        ended = written.add(token)
        pieces.append(written.piece())
        if ended:
            break
    pieces.append(written.rest())
    return written, pieces


def test_pieces_split_no_character():
    written, pieces = write(" Grüße, 犬 \N{DOG FACE} ")
    assert "".join(pieces) == written.whole() == "Grüße, 犬 \N{DOG FACE}"
    assert "ü" in pieces
    assert "\N{DOG FACE}" in "".join(pieces[:-2])  # as soon as it is whole
    assert written.ended
    assert written.ids[-1] == END


@pytest.mark.parametrize(
    ("said", "stop", "expected"),
    [
        ("a bell\nrings", ["\n"], "a bell"),
        ("\na bell", ["\n"], ""),
        ("one STOx STOP two", ["STOP", "never"], "one STOx"),
        ("ababac", ["abac"], "ab"),
        ("xaé", ["aé"], "x"),
        ("no stop", ["stopped"], "no stop"),
        ("both ab abc", ["abc", "b a"], "both a"),
    ],
)
def test_no_part_of_a_stop_string_is_said(said, stop, expected):
    written, pieces = write(said, stop)
    assert written.whole() == "".join(pieces) == expected
    assert written.ended
    so_far = ""
    for piece in pieces:
        so_far += piece
        assert expected.startswith(so_far)


def test_what_has_not_ended_holds_back_what_may_change():
    written, pieces = write("a bell ST", ["STOP"], end=False)
    assert "".join(pieces[:-1]) == "a bell"
    assert not written.ended
    assert written.whole() == "a bell ST" == "".join(pieces)


def test_long_answers_are_decoded_in_parts():
    choose = random.Random(0)
    said = "x" + "".join(choose.choice("ab \nüß犬\N{DOG FACE}") for _ in range(500)) + "x"
    decoded, decode = [], Bytes.decode

    class Counting(Bytes):
        def decode(self, ids, skip_special_tokens=False):
            decoded.append(len(ids))
            return decode(self, ids, skip_special_tokens)

    text = SimpleNamespace(tokenizer=Counting(), end_ids=[END])
    written = Written(text, ["never said"])
    pieces = []
    for token in said.encode():
        assert not written.add(token)
        pieces.append(written.piece())
    assert max(decoded) < 80
    assert "".join([*pieces, written.rest()]) == said
