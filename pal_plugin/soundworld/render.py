"""Renders a scene to a waveform: synthesis, room, levels, background.

The room (a mild filter and a short reverberation) is one transfer function applied to all events of
a scene; afterwards each event is rescaled to its level in the scene, so that labels about loudness
hold for the samples.
"""

from __future__ import annotations

import numpy as np

from pal_plugin.soundworld.events import SAMPLE_RATE_HZ, Event, Scene
from pal_plugin.soundworld.kinds import SYNTHESIS
from pal_plugin.soundworld.speech import say
from pal_plugin.soundworld.waves import samples

PEAK = 0.98


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0


def _dry(rng: np.random.Generator, event: Event, n: int) -> np.ndarray:
    """One event without room, each of its sounds at its level."""
    if event.kind == "speech":
        waves = [say(rng, event.words, event.onset_s, event.duration_s, event.speaker)]
    else:
        waves = SYNTHESIS[event.kind](rng, event.sounds)
    out = np.zeros(n)
    for sound, wave in zip(event.sounds, waves, strict=True):
        start = samples(sound.onset_s)
        wave = wave[: n - start]
        out[start : start + len(wave)] += wave * (10.0 ** (sound.level_db / 20.0) / _rms(wave))
    return out


def _room(rng: np.random.Generator, n_fft: int) -> np.ndarray:
    """Transfer function of the room, complex [n_fft // 2 + 1]."""
    # Functions of s (backward difference), so the filters are causal: nothing before the onset.
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(n_fft))
    s_khz = (1.0 - delay) * SAMPLE_RATE_HZ / (2000.0 * np.pi)
    gain = (s_khz + 0.06) ** (rng.uniform(-2.5, 2.5) / 6.02)
    if rng.random() < 0.3:
        gain = gain / (1.0 + s_khz / rng.uniform(1.5, 4.0)) ** 2
    if rng.random() < 0.3:
        return gain
    tail = np.zeros(n_fft)
    t60_s = rng.uniform(0.08, 0.45)
    length = min(samples(0.8 * t60_s), n_fft - 1)
    decay = 10.0 ** (-3.0 * np.arange(length) / SAMPLE_RATE_HZ / t60_s)
    tail[1 : length + 1] = rng.standard_normal(length) * decay
    tail *= 10.0 ** (rng.uniform(-22.0, -8.0) / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return gain * np.fft.rfft(tail)


def _span(wave: np.ndarray, event: Event) -> np.ndarray:
    return np.concatenate(
        [wave[samples(s.onset_s) : samples(s.onset_s + s.duration_s)] for s in event.sounds]
    )


def render_stems(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(events [E, S], background [S]): float32 at 16 kHz; they add up to `render(scene)`."""
    n = samples(scene.seconds)
    rng = np.random.default_rng(scene.seed)
    dry = np.stack([_dry(rng, event, n) for event in scene.events])
    n_fft = -(-(n + samples(0.4)) // 1600) * 1600  # multiples of 0.1 s have fast FFTs
    room = _room(rng, n_fft)
    wet = np.fft.irfft(np.fft.rfft(dry, n_fft) * room, n_fft)[:, :n]
    for event, before, after in zip(scene.events, dry, wet, strict=True):
        after *= _rms(_span(before, event)) / _rms(_span(after, event))

    shape = np.maximum(np.fft.rfftfreq(n_fft, 1 / SAMPLE_RATE_HZ), 40.0) ** -rng.uniform(0.0, 0.9)
    phases = rng.random(len(shape), dtype=np.float32)
    noise = np.fft.irfft(shape * np.exp(2j * np.pi * phases), n_fft)[:n]
    noise *= 10.0 ** (scene.noise_db / 20.0) / _rms(noise)

    peak = np.abs(wet.sum(0) + noise).max()
    scale = min(1.0, PEAK / peak)
    return (wet * scale).astype(np.float32), (noise * scale).astype(np.float32)


def render(scene: Scene) -> np.ndarray:
    """The clip: float32 [S], 16 kHz mono, |x| <= 0.98; deterministic."""
    stems, noise = render_stems(scene)
    return stems.sum(0) + noise
