"""The routing table: PLITS, LAL, and a mix of both."""

import pytest
import torch

from pal_plugin.integration import LLMInputs, Route, route
from pal_plugin.integration.routing import ClipPlaces
from pal_plugin.types import AudioTokens


def group(tokens, fill, valid=None):
    mask = torch.ones(2, tokens, dtype=torch.bool)
    if valid is not None:
        mask[1, valid:] = False
    return AudioTokens(torch.full((2, tokens, 4), float(fill)), mask)


TEXT = torch.zeros(2, 5, 4)
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])


def integrated(groups, table, text=TEXT) -> LLMInputs:
    return route(groups, table, text.dtype).with_text(text, MASK)


def test_plits_is_in_front_of_the_text_and_positions_count_valid_tokens():
    groups = {"a": group(3, 1, valid=2), "b": group(2, 2)}
    table = {"a": Route("plits"), "b": Route("plits")}
    inputs = integrated(groups, table)
    assert inputs.audio is None
    assert inputs.embeds[0, :, 0].tolist() == [1, 1, 1, 2, 2, 0, 0, 0, 0, 0]
    assert inputs.embeds[1, :, 0].tolist() == [1, 1, 2, 2, 0, 0, 0, 0, 0, 0]
    assert inputs.mask[1].tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert inputs.positions[1, :7].tolist() == list(range(7))
    assert inputs.text_columns[0].tolist() == [5, 6, 7, 8, 9]
    assert inputs.text_columns[1, 2:].tolist() == [4, 5, 6]


def test_lal_leaves_the_text_alone():
    groups = {"a": group(3, 1), "b": group(2, 2)}
    inputs = integrated(groups, {"a": Route("lal", (2, 1)), "b": Route("lal", (1, 2))})
    assert inputs.embeds is TEXT
    assert inputs.of_text(TEXT) is TEXT
    assert inputs.audio.features.shape == (2, 5, 4)
    assert inputs.audio.layers == {1, 2}
    assert inputs.audio.positions[0].tolist() == [-5, -4, -3, -2, -1]


def test_pal_routes_each_group():
    groups = {"general": group(3, 1), "speech": group(2, 2)}
    table = {"general": Route("lal"), "speech": Route("plits")}
    inputs = integrated(groups, table)
    assert inputs.embeds.shape[1] == 7
    assert inputs.audio.features.shape == (2, 3, 4)
    assert (inputs.audio.features == 1).all()


def test_errors():
    with pytest.raises(ValueError, match="unknown integration 'late'; known: plits, lal, flamingo"):
        Route("late")
    with pytest.raises(ValueError, match="layers are chosen for 'lal' and 'flamingo'"):
        Route("plits", (1,))
    with pytest.raises(ValueError, match=r"no route for the groups \['b'\]"):
        route({"b": group(1, 1)}, {"a": Route("lal")})
    with pytest.raises(ValueError, match="as wide as the LLM"):
        integrated({"a": group(1, 1)}, {"a": Route("plits")}, torch.zeros(2, 5, 6))


CLIPS = ClipPlaces(torch.tensor([[0, 2], [1, -1]]), torch.tensor([[0, 3], [2, 0]]))


def numbered(first, width=1):
    """Three clips of two tokens, of which the last clip has one; each token holds its number."""
    features = torch.arange(first, first + 6.0).view(3, 2, 1).expand(3, 2, width)
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    return AudioTokens(features, mask)


def test_clips_of_a_conversation_are_prepended_where_they_stand():
    routed = route({"speech": numbered(1)}, {"speech": Route("plits")})
    text, mask = torch.tensor([[10.0, 11, 12, 13], [20, 21, 22, 0]])[..., None], torch.ones(2, 4)
    mask[1, 3] = 0
    inputs = routed.with_text(text, mask, side="right", clips=CLIPS)
    assert inputs.embeds[..., 0].tolist() == [[1, 2, 10, 11, 12, 5, 13], [20, 21, 3, 4, 22, 0, 0]]
    assert inputs.mask.tolist() == [[1] * 7, [1] * 5 + [0] * 2]
    assert torch.equal(inputs.of_text(inputs.embeds)[mask.bool()], text[mask.bool()])
    # Two questions about each conversation: rows follow in turn.
    twice = routed.with_text(
        text.repeat_interleave(2, 0), mask.repeat_interleave(2, 0), side="left", clips=CLIPS
    )
    assert twice.embeds[1, :, 0].tolist() == [1, 2, 10, 11, 12, 5, 13]
    assert twice.embeds[3, :, 0].tolist() == [0, 0, 20, 21, 3, 4, 22]


def test_lal_has_the_positions_that_plits_gives():
    """Whichever way a clip goes, it is read at the same place."""
    text, mask = torch.zeros(2, 4, 1), torch.ones(2, 4)
    for groups in (("a",), ("a", "b")):
        tokens = {name: numbered(1 + 10 * n) for n, name in enumerate(groups)}
        by_plits = route(tokens, {n: Route("plits") for n in groups}).with_text(
            text, mask, clips=CLIPS
        )
        routes = {n: Route("lal", None if n == "a" else (1,)) for n in groups}
        audio = route(tokens, routes).with_text(text, mask, clips=CLIPS).audio
        front = (audio.mask & (audio.places == 0)).sum(1, keepdim=True)
        for row in range(2):
            at = (audio.positions + front)[row, audio.mask[row]]
            numbers = audio.features[row, audio.mask[row], 0]
            assert by_plits.embeds[row, at, 0].tolist() == numbers.tolist()


def test_by_both_routes_lal_stands_before_what_is_in_the_row():
    routes = {"a": [Route("lal"), Route("plits")]}
    text, mask = torch.zeros(2, 4, 1), torch.ones(2, 4)
    inputs = route({"a": numbered(1)}, routes).with_text(text, mask, clips=CLIPS)
    # Row 0: two tokens in front, three of text, and the clip of one, which is the sixth of the row.
    assert inputs.audio.places.tolist() == [[0, 0, 5, 0], [2, 2, 0, 0]]


def test_clips_in_front_are_no_places():
    clips = ClipPlaces(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    audio = route({"a": numbered(1)}, {"a": Route("lal")})
    inputs = audio.with_text(torch.zeros(1, 4, 1), torch.ones(1, 4), clips=clips)
    assert inputs.audio.places is None
    assert inputs.audio.positions.tolist() == [[-4, -3, -2, -1]]
    assert inputs.audio.features[..., 0].tolist() == [[1, 2, 3, 4]]
