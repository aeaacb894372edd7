"""Messages: their clips and their last question."""

import pytest

from pal_plugin.utils.messages import answered, clips_of, question_and_answer, with_clips


def audio(clip):
    return {"type": "audio", "audio": clip}


ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [audio("a"), {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "a bell"},
    {"role": "user", "content": [{"type": "text", "text": "And"}, audio("b"), audio("a")]},
]
WHOLE = [*ASKED, {"role": "assistant", "content": "rain"}]


def test_clips_are_read_and_replaced_in_order():
    assert clips_of(WHOLE) == ["a", "b", "a"]
    changed = with_clips(WHOLE, [3, 4, 3])
    assert clips_of(changed) == [3, 4, 3]
    assert with_clips(changed, ["a", "b", "a"]) == WHOLE
    assert clips_of(WHOLE) == ["a", "b", "a"]


def test_the_last_question_and_its_answer():
    assert question_and_answer(WHOLE) == ("And [audio] [audio]", "rain")
    with pytest.raises(ValueError, match="expected the assistant's answer"):
        question_and_answer(ASKED)
    assert answered(ASKED, "rain") == WHOLE
    assert answered(WHOLE, None) is WHOLE
    with pytest.raises(ValueError, match="ends with an answer, but there is another: 'rain'"):
        answered(WHOLE, "rain")
