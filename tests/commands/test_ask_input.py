"""Words of a command line become clips, a question and labels, or an error of one sentence."""

import io
import sys
from types import SimpleNamespace

import pytest
import soundfile

from pal_plugin.audio.errors import AudioError
from pal_plugin.clips import clip
from pal_plugin.commands import ask_input
from pal_plugin.commands.ask_input import AskError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(clip("dog").read_bytes())
    return tmp_path


def test_the_last_word_is_the_question_unless_it_is_a_clip(here):
    assert ask_input.split(["a.wav", "dog", "Which is louder?"]) == (
        ["a.wav", "dog"],
        "Which is louder?",
    )
    for words in (["dog"], ["dog", "a.wav"], ["dog", "-"], ["dog", "clip:rain"], []):
        assert ask_input.split(words) == (words, None)
    assert ask_input.split(["What is dog.wav?"]) == ([], "What is dog.wav?")
    long = "why? " * 200
    assert ask_input.split(["dog", long]) == (["dog"], long)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dgo", "What?"], "no audio file or shipped clip 'dgo'. Did you mean 'dog'"),
        (["What", "is", "dog"], "'What'.*needs quotes"),
        (["b.wav"], r"no audio file 'b.wav'. Did you mean 'a.wav'\?$"),
        (["my b.wav", "What?"], r"no audio file 'my b.wav'. Did you mean 'a.wav'\?$"),
        (["What is it?", "dog"], r"shipped clip 'What is it\?'. A question comes last"),
        (["https://a.org/b.wav", "What?"], "https://a.org/b.wav is an address, and nothing is"),
        (["https://a.org/b.wav"], "https://a.org/b.wav is an address, and nothing is"),
    ],
)
def test_a_word_that_names_no_clip_is_told_with_the_nearest(here, words, message):
    with pytest.raises(AskError, match=message):
        ask_input.split(words)


def test_clips_are_files_shipped_clips_and_standard_input(here, monkeypatch):
    expected, rate_hz = soundfile.read(clip("dog"), dtype="float32")
    stdin = SimpleNamespace(buffer=io.BytesIO(clip("dog").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    heard = ask_input.read_clips(["a.wav", "dog", "clip:dog", "-", "dog"])
    for one in heard:
        assert (one.audio[0] == expected).all()
        assert one.seconds == len(expected) / rate_hz
    assert heard[1] is heard[4]
    (here / "dog").write_bytes(clip("rain").read_bytes())  # a file comes before a shipped clip
    file, shipped = ask_input.read_clips(["dog", "clip:dog"])
    assert len(file.audio[0]) != len(shipped.audio[0])


def test_what_is_no_audio_is_told(here):
    (here / "text.wav").write_text("hello")
    with pytest.raises(AudioError, match="cannot decode text.wav"):
        ask_input.read_clip("text.wav")
    with pytest.raises(AskError, match="is a folder; expected audio files"):
        ask_input.read_clip(str(here))
    with pytest.raises(ValueError, match="no clip 'dgo' in the package"):
        ask_input.read_clip("clip:dgo")
    with pytest.raises(AskError, match=r"Did you mean 'dog'\?$"):  # /clip has no question
        ask_input.read_clip("dgo")


def test_a_question_is_text(here):
    assert ask_input.checked_question(" a ") == " a "
    with pytest.raises(AskError, match="the question is empty"):
        ask_input.checked_question(" ")
    with pytest.raises(AskError, match="the last argument is a clip"):
        ask_input.checked_question(None)


def test_questions_are_lines(here, monkeypatch):
    (here / "q.txt").write_text("What?\n\n Why? \n")
    assert ask_input.read_questions("q.txt") == ["What?", "Why?"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who?"))
    assert ask_input.read_questions("-") == ["Who?"]
    (here / "q.txt").write_bytes(b"\xff\n")
    for place in ("q.txt", "gone.txt"):
        with pytest.raises(AskError, match=f"cannot read {place}"):
            ask_input.read_questions(place)
    (here / "q.txt").write_text("\n")
    with pytest.raises(AskError, match="has no question"):
        ask_input.read_questions("q.txt")


def test_labels_are_between_commas():
    assert ask_input.split_labels("dog, sea waves,rain") == ["dog", "sea waves", "rain"]
    wrong = {"a,,b": "an empty label", "": "an empty label", "a,b,a": "twice", "a": "is only one"}
    for text, message in wrong.items():
        with pytest.raises(AskError, match=message):
            ask_input.split_labels(text)
