"""lmms-eval's questions as batches, and its generation arguments as ours."""

import pytest

from pal_plugin.hosts.lmms_eval.prompts import (
    NEW_TOKENS,
    Prompt,
    batch_of,
    batches,
    generation_of,
    prompt_of,
)


def test_clips_stand_in_front_of_the_text_and_the_same_clip_is_one():
    one, other = {"array": [1.0], "sampling_rate": 1}, "b.wav"
    batch = batch_of([Prompt("Which?", (one, other)), Prompt("And?", (one,)), Prompt("Text")])
    assert batch["audio"] == [one, other]
    parts = [[part.get("audio", part.get("text")) for part in talk[0]["content"]]
             for talk in batch["messages"]]  # fmt: skip
    assert parts == [[0, 1, "Which?"], [0, "And?"], ["Text"]]
    assert "audio_mask" not in batch


def test_text_alone_has_no_audio_and_the_control_masks_every_row():
    assert batch_of([Prompt("a"), Prompt("b")]).keys() == {"messages"}
    assert batch_of([Prompt("a"), Prompt("b")], mask_audio=True)["audio_mask"] == [False, False]


def test_what_a_task_gives_for_a_document():
    clip = {"array": [0.0], "sampling_rate": 8000}
    assert prompt_of("Q", [clip]) == Prompt("Q", (clip,))
    assert prompt_of("Q", None) == prompt_of("Q", []) == Prompt("Q")
    with pytest.raises(ValueError, match=r"gave a dict; expected a list of clips"):
        prompt_of("Q", clip)
    with pytest.raises(ValueError, match="2 clips, one of them None"):
        prompt_of("Q", [clip, None])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"max_new_tokens": NEW_TOKENS, "do_sample": False, "stop": []}),
        (
            {"max_new_tokens": 8, "temperature": 0, "top_p": 1.0, "num_beams": 2, "until": "\n"},
            {"max_new_tokens": 8, "num_beams": 2, "do_sample": False, "stop": ["\n"]},
        ),
        (
            {"temperature": 0.2, "top_p": None, "until": ["", "Q:"]},
            {
                "max_new_tokens": NEW_TOKENS,
                "temperature": 0.2,
                "do_sample": True,
                "stop": ["Q:"],
            },
        ),
        (
            {"temperature": 0.2, "do_sample": False, "top_k": 5},
            {"max_new_tokens": NEW_TOKENS, "do_sample": False, "stop": []},
        ),
    ],
)
def test_generation_arguments(given, expected):
    kept = dict(given or {})
    assert generation_of(given) == expected
    assert (given or {}) == kept  # lmms-eval shares them between requests


def test_batches_are_of_equal_keys_and_lose_nothing():
    keys = [{"stop": []}, ["a"], {"stop": []}, {"stop": []}, ["a"]]
    assert list(batches(keys, 2)) == [[0, 2], [3], [1, 4]]
