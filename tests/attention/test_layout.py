"""Places, positions and columns, worked out by hand."""

import pytest
import torch

from pal_plugin.attention.layout import (
    audio_positions,
    places_in_row,
    row_columns,
    text_index,
    text_of,
    text_positions,
)

#: Two tokens in front, a clip of two behind two tokens of text, one of one behind four.
PLACES = torch.tensor([[0, 0, 2, 2, 4]])
ALL = torch.ones(1, 5, dtype=torch.bool)


def test_audio_in_front_counts_down_to_the_text_and_audio_among_it_counts_on():
    assert audio_positions(ALL).tolist() == [[-5, -4, -3, -2, -1]]
    assert audio_positions(ALL, PLACES).tolist() == [[-2, -1, 2, 3, 6]]
    index = torch.arange(6)[None]
    assert text_positions(index, ALL, PLACES).tolist() == [[0, 1, 4, 5, 7, 8]]


def test_what_is_padding_moves_nothing():
    mask = torch.tensor([[True, False, True, False, True]])
    positions = audio_positions(mask, torch.where(mask, PLACES, 0))
    assert positions[mask].tolist() == [-1, 2, 5]
    assert text_positions(torch.arange(6)[None], mask, PLACES).tolist() == [[0, 1, 3, 4, 6, 7]]


def test_clips_at_one_place_are_read_one_after_the_other():
    places = torch.tensor([[1, 1, 1, 1]])  # columns of two groups, each of clips 0 and 1
    clips = torch.tensor([0, 1, 0, 1])
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert audio_positions(mask, places).tolist() == [[1, 2, 3, 4]]
    assert audio_positions(mask, places, clips).tolist() == [[1, 3, 2, 4]]


def test_columns_of_a_row_are_all_of_it_in_the_order_of_positions():
    text = torch.ones(1, 6, dtype=torch.long)
    audio, words = row_columns(text, ALL, PLACES)
    assert audio.tolist() == [[0, 1, 4, 5, 8]]
    assert words.tolist() == [[2, 3, 6, 7, 9, 10]]


def test_places_among_the_text_are_moved_by_the_audio_in_the_row():
    prefix = torch.tensor([[0, 2, 2]])  # tokens of the row that are audio themselves
    valid = torch.tensor([[True, True, True]])
    places = torch.tensor([[0, 2, 3]])
    # At 0 before everything, at 2 before the audio of the same place, at 3 behind all three.
    assert places_in_row(places, valid, prefix).tolist() == [[0, 3, 6]]
    valid = torch.tensor([[False, True, False]])
    assert places_in_row(places, valid, prefix).tolist() == [[0, 2, 4]]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"position_ids": torch.tensor([[5, 6]])}, [[5, 6], [5, 6]]),
        ({"attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]])}, [[0, 1], [1, 2]]),
        ({}, [[0, 1], [0, 1]]),
    ],
)
def test_the_index_of_a_token_is_given_or_counted(kwargs, expected):
    assert text_index(torch.zeros(2, 2), kwargs).tolist() == expected


def test_behind_a_cache_the_index_goes_on():
    class Cache:
        def get_seq_length(self):
            return 7

    for name in ("past_key_values", "cache"):
        assert text_index(torch.zeros(1, 2), {name: Cache()}).tolist() == [[7, 8]]


def test_the_text_is_found_wherever_it_is_given():
    ids, embeds = torch.zeros(1, 2), torch.zeros(1, 2, 3)
    assert text_of((), {"inputs_embeds": embeds, "input_ids": None}) is embeds
    assert text_of((), {"input_ids": ids}) is ids
    assert text_of((ids,), {}) is ids
