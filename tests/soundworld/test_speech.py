"""Pseudo-speech: the words differ from each other more than the voices do."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from pal_plugin.soundworld import LEXICON, SAMPLE_RATE_HZ, Speaker, Word, sample_scene
from pal_plugin.soundworld.speech import PHONES, WORDS, say, word_seconds

VOICES = [
    Speaker(95.0, 0.92, 0.9),
    Speaker(130.0, 1.05, 1.2),
    Speaker(185.0, 1.1, 1.0),
    Speaker(240.0, 1.2, 1.2),
]


def spoken(word, voice, seed):
    seconds = word_seconds(word, voice.rate)
    words = (Word(word, 0.0, seconds),)
    return say(np.random.default_rng(seed), words, 0.0, seconds, voice)


def features(wave):
    """Smoothed log spectrum at 16 instants of the word."""
    wave = wave / wave.std() + 0.01 * np.random.default_rng(0).standard_normal(len(wave))
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 256), 512)[::80]
    power = np.abs(np.fft.rfft(pieces * np.hanning(512)))[:, 1:] ** 2
    edges = np.unique(np.geomspace(4, 256, 22).astype(int))
    bands = np.log(np.add.reduceat(power, np.r_[0, edges[:-1]], axis=1) + 1e-3)
    picked = bands[np.linspace(0, len(bands) - 1, 16).round().astype(int)]
    return (picked - picked.mean()).ravel()


def test_lexicon_is_spelled_in_known_phones():
    assert len(LEXICON) == 20
    assert {phone for spelling in LEXICON.values() for phone in spelling.split()} <= set(PHONES)
    assert len(set(LEXICON.values())) == len(LEXICON)


def test_words_are_recognised_across_voices():
    table = np.array([[features(spoken(w, v, i)) for w in WORDS] for i, v in enumerate(VOICES)])
    right = 0
    for i in range(len(VOICES)):
        others = np.delete(table, i, axis=0)
        distance = np.square(table[i][:, None, None] - others[None]).sum(-1).min(1)
        right += (distance.argmin(1) == np.arange(len(WORDS))).sum()
    assert right >= 0.85 * len(VOICES) * len(WORDS)


def test_a_voice_has_its_pitch():
    for seed, voice in enumerate(VOICES):
        wave = spoken("blue", voice, seed)
        vowel = wave[len(wave) // 2 : len(wave) // 2 + 1600]
        correlation = np.correlate(vowel, vowel, "full")[1599:]
        lags = slice(SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 60)
        lag = lags.start + correlation[lags].argmax()
        assert SAMPLE_RATE_HZ / lag == pytest.approx(voice.f0_hz, rel=0.25)


def test_word_timings_follow_each_other_within_the_event():
    rng = Random(0)
    lengths = set()
    for _ in range(100):
        scene = sample_scene(rng, "speech")
        event = next(e for e in scene.events if e.kind == "speech")
        lengths.add(len(event.words))
        assert event.words[0].onset_s == event.onset_s
        last = event.words[-1]
        assert last.onset_s + last.duration_s == pytest.approx(event.offset_s, abs=0.002)
        for a, b in pairwise(event.words):
            assert b.onset_s >= a.onset_s + a.duration_s + 0.05
    assert lengths == {1, 2, 3, 4}


def test_an_unknown_word_is_an_error():
    with pytest.raises(ValueError, match="word 'ten' is not in the lexicon; known: zero, one"):
        word_seconds("ten", 1.0)
