"""The routing table: PLITS, LAL, and a mix of both."""

import pytest
import torch

from pal_plugin.integration import LLMInputs, Route, route
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
