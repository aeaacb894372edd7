"""Clips as plain data: dealt, drawn, and what is asked of them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pal_plugin.spoken.clips import BABBLE, draw_clip, facts, items, render
from pal_plugin.spoken.settings import SPLITS, Settings, default_build_info
from pal_plugin.spoken.texts import sentences, split_of
from pal_plugin.spoken.voices import voices

SETTINGS = {split: Settings.of_split(default_build_info(), split) for split in SPLITS}


def drawn(split, count, seed=0, **changes):
    settings = replace(SETTINGS[split], **changes)
    return [draw_clip(split, seed, index, settings) for index in range(count)]


def test_kinds_digits_and_sentences_are_dealt_evenly():
    clips = drawn("train", 500)
    kinds = Counter(clip.kind for clip in clips)
    assert kinds == {"digit": 60, "words": 66, "sentence": 374}
    digits = Counter(clip.speech.text for clip in clips if clip.kind == "digit")
    assert set(digits.values()) == {6}
    said = [clip.speech.text for clip in clips if clip.kind == "sentence"]
    assert len(set(said)) == len(said)


def test_a_sequence_has_as_many_words_as_is_set():
    said = drawn("train", 60, digits=0.0, sequences=1.0, sequence_words=(1, 3))
    assert {len(clip.speech.text.split()) for clip in said} == {1, 2, 3}


def test_all_sentences_are_said_before_one_is_said_again():
    size = len(sentences("val"))
    said = [clip.speech.text for clip in drawn("val", 2 * size, digits=0.0, sequences=0.0)]
    assert sorted(said[:size]) == sorted(said[size:]) == sorted(sentences("val"))
    assert said[:size] != said[size:]


def test_no_text_and_no_voice_of_val_and_test_is_in_training():
    heard = {}
    for split in SPLITS:
        all_said = [u for clip in drawn(split, 400, noise=1.0) for u in clip.utterances()]
        texts = {u.text for u in all_said if " " in u.text}  # digits are the same everywhere
        assert {split_of(text) for text in texts} == {split}
        heard[split] = texts, {u.voice for u in all_said}
        assert heard[split][1] <= set(voices(split))
    for other in ("val", "test"):
        assert not heard["train"][0] & heard[other][0]
        assert not heard["train"][1] & heard[other][1]
    assert not heard["val"][1] & heard["test"][1]


def test_a_clip_is_its_split_seed_and_number():
    assert drawn("train", 12) == drawn("train", 12)
    assert drawn("train", 3)[2] == draw_clip("train", 0, 2, SETTINGS["train"])
    assert drawn("train", 12) != drawn("train", 12, seed=1)
    with pytest.raises(ValueError, match="dev"):
        draw_clip("dev", 0, 0, SETTINGS["train"])


def test_shares_of_what_is_rendered_in():
    clips = drawn("train", 1000)
    for name, share in (("noise", 0.5), ("decay_s", 0.25), ("telephone", 0.15)):
        found = sum(bool(getattr(clip, name)) for clip in clips) / len(clips)
        assert found == pytest.approx(share, abs=0.05)
    noises = Counter(clip.noise for clip in clips if clip.noise)
    assert set(noises) == {"white", "pink", "brown", BABBLE}
    assert all(len(clip.others) == (3 if clip.noise == BABBLE else 0) for clip in clips)
    assert all(8 <= clip.snr_db <= 40 for clip in clips if clip.noise)
    clean = drawn("val", 100)
    assert not any(clip.noise or clip.decay_s or clip.telephone for clip in clean)


def test_each_kind_asks_its_question():
    clips = {clip.kind: clip for clip in drawn("val", 40)}
    (digit,), (words,), (sentence,) = (items(clips[k]) for k in ("digit", "words", "sentence"))
    assert (digit["task"], digit["question_type"]) == ("classification", "spoken_digits")
    assert digit["question"] == "Which digit is spoken?"
    assert digit["answers"][0] == clips["digit"].speech.text
    assert digit["answers"][1].isdigit()
    assert (words["task"], words["question_type"]) == ("transcript", "word_sequence")
    assert (sentence["task"], sentence["question_type"]) == ("transcript", "transcript")
    assert sentence["answer"] == clips["sentence"].speech.text
    assert facts(clips["sentence"])["accent"] in clips["sentence"].speech.voice


def test_noise_lies_below_the_speech_by_the_ratio_drawn():
    clip = next(c for c in drawn("train", 200, reverb=0.0, telephone=0.0) if c.noise == "white")
    speech = (8000 * np.sin(np.arange(22050) * 0.1)).astype(np.int16)
    clip = replace(clip, snr_db=20.0, before_s=0.5, after_s=0.0)
    wave = render(clip, [speech], 22050)
    assert wave.dtype == np.float32
    assert len(wave) == 16000 + 8000
    assert 20 * np.log10(np.sqrt(np.mean(wave**2))) == pytest.approx(clip.level_db, abs=0.1)
    quiet = np.mean(wave[:7500] ** 2)
    ratio_db = 10 * np.log10((np.mean(wave**2) - quiet) / quiet)
    assert ratio_db == pytest.approx(20.0, abs=0.5)
    assert (render(clip, [speech], 22050) == wave).all()
