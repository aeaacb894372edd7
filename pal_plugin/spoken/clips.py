"""Draws and renders one clip: text, voice and recording conditions; its audio and its item.

Design choice: kinds, sentences and digits are assigned by the clip's index and the rest is drawn
from its own seed, so a clip depends neither on the number of clips nor on others, and no sentence
repeats before all have been used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from random import Random
from typing import Any

import numpy as np
import torch

from pal_plugin.audio.background import add_at_snr
from pal_plugin.audio.io import resample
from pal_plugin.corpora.items import classification, open_question
from pal_plugin.corpora.prompts import DIGIT, TRANSCRIBE
from pal_plugin.corpora.readers.speech import DIGITS
from pal_plugin.corpora.records import Item
from pal_plugin.spoken import effects
from pal_plugin.spoken.settings import SPLITS, Settings
from pal_plugin.spoken.synthesis import Utterance
from pal_plugin.spoken.texts import sentences, sequence
from pal_plugin.spoken.voices import voices

BABBLE = "babble"
_BABBLERS = 3
_DECAY_S, _WET_DB = (0.15, 0.5), (-14.0, -4.0)


@dataclass(frozen=True)
class Clip:
    """All parameters of a clip.

    Attributes:
        kind: "sentence", "words" or "digit".
        speech: the utterance.
        before_s, after_s: silence in seconds.
        level_db: RMS level relative to full scale.
        noise: its colour, "babble", or None.
        snr_db: signal-to-noise ratio in dB; None without noise.
        others: the background utterances of babble.
        decay_s, wet_db: reverberation time and level; None without reverberation.
        telephone: whether to limit it to telephone bandwidth.
        seed: seed of noise and room.
    """

    kind: str
    speech: Utterance
    before_s: float
    after_s: float
    level_db: float
    noise: str | None
    snr_db: float | None
    others: tuple[Utterance, ...]
    decay_s: float | None
    wet_db: float | None
    telephone: bool
    seed: int

    def utterances(self) -> list[Utterance]:
        """All utterances to synthesize."""
        return [self.speech, *self.others]


def clip_rng(split: str, seed: int, index: int) -> Random:
    """The random generator of one clip."""
    if split not in SPLITS or index < 0:
        raise ValueError(f"expected a split of {SPLITS} and an index >= 0, got {split!r}, {index}")
    key = (SPLITS.index(split), index)
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(4)
    return Random(int.from_bytes(state.tobytes(), "little"))


def draw_clip(split: str, seed: int, index: int, settings: Settings) -> Clip:
    """Clip `index` of a split, independent of all others.

    Raises:
        ValueError: for an unknown split or a negative index.
    """
    rng = clip_rng(split, seed, index)
    kind, text = _said(split, seed, index, settings, rng)
    speech = _utterance(text, split, settings, rng)
    before_s, after_s = (round(rng.uniform(*settings.silence_s), 3) for _ in range(2))
    level_db = round(rng.uniform(*settings.level_db), 2)
    colour = rng.choice([*effects.COLOURS, BABBLE]) if rng.random() < settings.noise else None
    others = [rng.choice(sentences(split)) for _ in range(_BABBLERS if colour == BABBLE else 0)]
    room = rng.random() < settings.reverb
    return Clip(
        kind=kind,
        speech=speech,
        before_s=before_s,
        after_s=after_s,
        level_db=level_db,
        noise=colour,
        snr_db=round(rng.uniform(*settings.snr_db), 2) if colour else None,
        others=tuple(_utterance(other, split, settings, rng) for other in others),
        decay_s=round(rng.uniform(*_DECAY_S), 3) if room else None,
        wet_db=round(rng.uniform(*_WET_DB), 2) if room else None,
        telephone=rng.random() < settings.telephone,
        seed=rng.getrandbits(63),
    )


def render(clip: Clip, said: Sequence[np.ndarray], rate_hz: int) -> np.ndarray:
    """The clip's audio, float32 `[S]` at `effects.SAMPLE_RATE_HZ`.

    Args:
        said: int16 samples `[S]` of each of `clip.utterances()`.
        rate_hz: their sampling rate in Hz.
    """
    speech, *others = (
        resample(torch.from_numpy(s / np.float32(32768)), rate_hz, effects.SAMPLE_RATE_HZ)
        for s in said
    )
    rng = np.random.default_rng(clip.seed)
    audio = effects.with_silence(speech, clip.before_s, clip.after_s)
    if clip.decay_s is not None:
        audio = effects.in_room(audio, clip.decay_s, clip.wet_db, rng)
    if clip.noise is not None:
        behind = (
            effects.babble(others, len(audio))
            if clip.noise == BABBLE
            else effects.noise(clip.noise, len(audio), rng)
        )
        audio = add_at_snr(audio, behind, clip.snr_db)
    if clip.telephone:
        audio = effects.by_telephone(audio)
    return effects.at_level(audio, clip.level_db).numpy()


def items(clip: Clip) -> list[Item]:
    """The clip's item, as a list."""
    text = clip.speech.text
    if clip.kind == "digit":
        answers = [text, str(DIGITS.index(text))]
        return [classification(DIGIT, text, "spoken_digits", answers=answers)]
    kind = "transcript" if clip.kind == "sentence" else "word_sequence"
    return [open_question("transcript", kind, TRANSCRIBE, text)]


def facts(clip: Clip) -> dict[str, Any]:
    """Metadata of a clip, for its record."""
    speech = clip.speech
    accent, _, variant = speech.voice.partition("+")
    return {
        "kind": clip.kind,
        "text": speech.text,
        "accent": accent,
        "variant": variant,
        "words_per_minute": speech.words_per_minute,
        "noise": clip.noise,
        "snr_db": clip.snr_db,
        "reverb_s": clip.decay_s,
        "telephone": clip.telephone,
    }


def _said(split: str, seed: int, index: int, settings: Settings, rng: Random) -> tuple[str, str]:
    """Kind and text of a clip."""
    digits, is_digit = _dealt(index, settings.digits)
    if is_digit:
        return "digit", _turn(DIGITS, digits, f"{seed} {split} digits")
    sequences, is_sequence = _dealt(index - digits, settings.sequences)
    if is_sequence:
        return "words", sequence(split, rng, settings.sequence_words)
    number = index - digits - sequences
    return "sentence", _turn(sentences(split), number, f"{seed} {split} sentences")


def _dealt(index: int, share: float) -> tuple[int, bool]:
    """`(indices below this one in the share, whether this one is)`; spreads the share evenly."""
    before = floor(index * share + 1e-9)
    return before, floor((index + 1) * share + 1e-9) > before


def _turn(texts: Sequence[str], number: int, name: str) -> str:
    """Text `number` of an endless series of reshuffled passes."""
    round_, place = divmod(number, len(texts))
    return texts[_order(len(texts), f"{name} {round_}")[place]]


@lru_cache(maxsize=8)
def _order(size: int, name: str) -> tuple[int, ...]:
    return tuple(Random(name).sample(range(size), size))


def _utterance(text: str, split: str, settings: Settings, rng: Random) -> Utterance:
    return Utterance(
        text=text,
        voice=rng.choice(voices(split)),
        words_per_minute=round(rng.uniform(*settings.words_per_minute)),
        pitch=round(rng.uniform(*settings.pitch)),
        pitch_range=round(rng.uniform(*settings.pitch_range)),
    )
