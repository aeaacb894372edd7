"""Slips of callers: each is told by name, and what is right passes."""

import io

import numpy as np
import pytest
import torch

from pal_plugin.models import asked

ARRAY = np.zeros(8, np.float32)


@pytest.mark.parametrize(
    "clip",
    [
        "a.wav",
        b"RIFF",
        (ARRAY, 16_000),
        [ARRAY, 16_000],
        (torch.zeros(8), None),  # who reads it says that the rate is none
        io.BytesIO(),
        {"array": ARRAY, "sampling_rate": 16_000},
        {"whisper": {"features": ARRAY}},
    ],
)
def test_one_clip_passes_in_every_form(clip):
    asked.check_clip(clip)


@pytest.mark.parametrize(
    ("clip", "told"),
    [
        (None, "the clip is None; expected a path"),
        ("", "the clip is ''; expected a path"),
        ({}, "the clip is {}; expected a path"),
        (["a.wav"], "expected one clip, got a list of 1; .*model.generate"),
        (["a.wav", "b.wav"], "expected one clip, got a list of 2"),
        (("a.wav", "b.wav"), "expected one clip, got a tuple of 2"),
        ([ARRAY, ARRAY], "expected one clip, got a list of 2"),
        ([(ARRAY, 16_000), (ARRAY, 16_000)], "expected one clip, got a list of 2"),
        ([None, None], "expected one clip, got a list of 2"),
        ([], "expected one clip, got a list of 0"),
    ],
)
def test_no_clip_and_several_are_told(clip, told):
    with pytest.raises(ValueError, match=told):
        asked.check_clip(clip)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (None, "the question is None; expected text"),
        (5, "the question is 5"),
        (b"what?", "the question is b'what"),
        (["What?", "Who?"], "expected one question, got a list of 2; .*model.generate"),
        (("What?",), "expected one question, got a tuple of 1"),
    ],
)
def test_no_question_and_several_are_told(question, told):
    asked.check_question("What do you hear?")
    with pytest.raises(ValueError, match=told):
        asked.check_question(question)


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        ("dog", "candidates is 'dog'; expected a list of texts"),
        (None, "candidates is None"),
        (7, "candidates is 7"),
        ([], "candidates is empty"),
        (["dog", None], r"candidates\[1\] is None"),
        (["dog", " "], r"candidates\[1\] is ' '"),
    ],
)
def test_candidates_are_texts(candidates, told):
    assert asked.check_candidates(name for name in ("dog", "cat")) == ["dog", "cat"]
    with pytest.raises(ValueError, match=told):
        asked.check_candidates(candidates)


@pytest.mark.parametrize(
    ("tokens", "generation", "told"),
    [
        (0, {}, "max_new_tokens is 0; expected a whole number, 1 or more"),
        ("a", {}, "max_new_tokens is 'a'"),
        (None, {}, "max_new_tokens is None"),
        (8, {"num_beams": 0}, "num_beams is 0; expected a whole number"),
        (8, {"temperature": -1}, "temperature is -1; expected a number above 0"),
        (8, {"top_p": float("nan")}, "top_p is nan"),
    ],
)
def test_arguments_of_generate_have_the_ranges_of_the_run_file(tokens, generation, told):
    asked.check_generation(8, {"num_beams": 2, "do_sample": True, "anything": object()})
    with pytest.raises(ValueError, match=told):
        asked.check_generation(tokens, generation)
