import numpy as np
import pytest

from pal_plugin.audio.errors import AudioError
from pal_plugin.llm.conversation import read_messages
from pal_plugin.serving.prompt import prompt_of


def said(*clips):
    parts = [{"type": "audio", "audio": clip} for clip in clips]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]


def test_clips_are_known_by_their_samples(tiny_model, two_clips):
    model, (short, long) = tiny_model("lal"), two_clips["audio"]
    copy = (short[0].copy(), short[1])
    turns = prompt_of(model, said(short, long, copy))
    (first, source), (other, _), (again, _) = turns.clips
    assert first == again != other
    assert np.array_equal(source[0], short[0])
    assert prompt_of(model, said((short[0], 8000))).clips[0][0] != first
    assert turns.ids == read_messages(model.text, said(short, long, short)).ids
    mute = prompt_of(model, said(short, long), mute=True)
    assert (mute.clips, mute.places) == ([], [])
    assert mute.ids == turns.ids


def test_nothing_is_opened(tiny_model, tmp_path):
    model, path = tiny_model("lal"), tmp_path / "clip.wav"
    for clip in (str(path), path, b"RIFF", ("a.wav", 16000), {"path": str(path)}):
        with pytest.raises(ValueError, match=r"expected it decoded, as \(array, rate in Hz\)"):
            prompt_of(model, said(clip))
    with pytest.raises(AudioError):
        prompt_of(model, said((np.zeros(9, np.int64), 16000)))
    with pytest.raises(ValueError, match="ends with an answer"):
        prompt_of(model, [*said(), {"role": "assistant", "content": "a bell"}])
