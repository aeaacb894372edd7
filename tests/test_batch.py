"""Rows of a batch: the clips stay, the index says who listens to which."""

import pytest
import torch

from pal_plugin.batch import masked, questions_of, take_rows


def batch():
    return {
        "audio": {"sslam": {"features": torch.arange(2.0)}},
        "clip_index": torch.tensor([0, 0, 1]),
        "text_input": ["a", "b", "c"],
        "candidates": [None, ["x"], None],
        "num_clips": 2,
        "skipped": [],
    }


def test_rows_are_taken_and_clips_are_not():
    part = take_rows(batch(), [2, 1])
    assert part["text_input"] == ["c", "b"]
    assert part["clip_index"].tolist() == [1, 0]
    assert part["candidates"] == [None, ["x"]]
    assert len(part["audio"]["sslam"]["features"]) == 2
    assert part["num_clips"] == 2


def test_without_an_index_each_row_has_its_own_clip():
    samples = batch()
    del samples["clip_index"]
    assert take_rows(samples, [1, 2])["clip_index"].tolist() == [1, 2]


def test_an_entry_of_another_length_is_named():
    with pytest.raises(ValueError, match=r"'extra'.* 1 .* 3 "):
        take_rows(batch() | {"extra": ["?"]}, [0])


def test_masking_hides_the_audio_of_every_row():
    assert masked(batch())["audio_mask"].tolist() == [False] * 3
    assert "audio_mask" not in batch()


def test_questions_ask_for_something():
    assert questions_of(batch()) == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"question 1 is ' \\t'; expected a non-blank question"):
        questions_of(batch() | {"text_input": ["a", " \t", "c"]})
