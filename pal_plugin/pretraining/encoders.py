"""Pretrains the pocket encoders on the sound world by frame-level tagging.

Each encoder, with one linear head on its time cells, predicts which kinds sound, which word is
spoken and which pitches occur (binary cross-entropy), and the energy in eight bands (squared
error). The originals are self-supervised or contrastive; at this size and amount of audio,
supervision is what gives useful features, and the model card says so.

Features are computed once and kept in memory, so that training does not wait for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from pal_plugin.encoders import build_encoder
from pal_plugin.encoders.base import AudioEncoder
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.pretraining.loop import Corpus, fit
from pal_plugin.soundworld import LABELS, LEXICON, SAMPLE_RATE_HZ, Scene, render, sample_scene
from pal_plugin.soundworld.seeds import scene_rng
from pal_plugin.utils.locations import resolve

FRAME_S = 0.02
WORDS = list(LEXICON)
PITCH_BINS, PITCH_LOW_HZ, BINS_PER_OCTAVE = 36, 60.0, 5
BANDS = 8
KINDS_END, WORDS_END = len(LABELS), len(LABELS) + len(WORDS)
BINARY_END = WORDS_END + PITCH_BINS


def pitch_bin(hz: float) -> int:
    """Logarithmic bin of a pitch in Hz, clamped to the range of the bins."""
    return min(max(int(BINS_PER_OCTAVE * math.log2(hz / PITCH_LOW_HZ)), 0), PITCH_BINS - 1)


def scene_targets(scene: Scene, frames: int) -> Tensor:
    """Targets `[frames, kinds + words + pitch bins]`, 1 where active in a frame of 20 ms."""
    target = torch.zeros(frames, BINARY_END)

    def mark(column: int, onset_s: float, duration_s: float) -> None:
        first = int(onset_s / FRAME_S)
        last = max(first + 1, math.ceil((onset_s + duration_s) / FRAME_S))
        target[first:last, column] = 1.0

    for event in scene.events:
        kind = LABELS.index(event.kind)
        for sound in event.sounds:
            mark(kind, sound.onset_s, sound.duration_s)
            if sound.pitch_hz and not sound.end_hz:
                mark(WORDS_END + pitch_bin(sound.pitch_hz), sound.onset_s, sound.duration_s)
            elif sound.pitch_hz:  # a sweep traverses its pitches
                parts = 10
                for i in range(parts):
                    hz = sound.pitch_hz * (sound.end_hz / sound.pitch_hz) ** ((i + 0.5) / parts)
                    part_s = sound.duration_s / parts
                    mark(WORDS_END + pitch_bin(hz), sound.onset_s + i * part_s, part_s)
        for word in event.words:
            mark(KINDS_END + WORDS.index(word.word), word.onset_s, word.duration_s)
    return target


class _Scenes(Dataset):
    """Scene i -> frame targets and features for a set of encoders, computed in workers."""

    def __init__(
        self, encoders: dict, clips: int, seed: int, frames: int, speech_share: float = 0.0
    ) -> None:
        self.frontend = AudioFrontend(encoders)
        self.clips, self.seed, self.frames = clips, seed, frames
        self.speech_share = speech_share

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int):
        torch.set_num_threads(1)
        rng = scene_rng("pretraining", self.seed, index)
        speech = rng.random() < self.speech_share
        scene = sample_scene(rng, "speech" if speech else LABELS[index % len(LABELS)])
        audio = self.frontend((render(scene), SAMPLE_RATE_HZ))
        features = {n: (a["features"].half(), a["frames"]) for n, a in audio.items()}
        return scene_targets(scene, self.frames).to(torch.uint8), features


class Tagger(nn.Module):
    """An encoder with a linear head on its time cells."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, BINARY_END + BANDS)

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions `[B, t, outputs]` and a mask `[B, t]` of cells within the clip."""
        tokens = self.encoder(mel, frames)
        cells, mask = tokens.features, tokens.mask
        if tokens.grid:
            cells, mask = tokens.cells().mean(2), mask.unflatten(1, tokens.grid)[..., 0]
        return self.head(cells), mask


def spec_augment(mel: Tensor, rng: torch.Generator, width: int = 12, length: int = 24) -> Tensor:
    """Replaces one random frequency band and one time span by the clip's mean (arXiv 1904.08779).

    Args:
        mel: `[..., time, mel]` or Whisper's `[B, mel, time]`; both axes are treated alike.
        width, length: maximum sizes along the last and the second-last axis.
    """
    mel = mel.clone()
    mean = mel.mean((-2, -1), keepdim=True)
    for axis, span in ((-1, width), (-2, length)):
        size = mel.shape[axis]
        chosen = torch.randint(0, min(span, size // 4) + 1, (len(mel),), generator=rng)
        start = (torch.rand(len(mel), generator=rng) * (size - chosen)).long()
        place = torch.arange(size)
        hidden = (place >= start[:, None]) & (place < (start + chosen)[:, None])
        shape = [len(mel)] + [1] * (mel.dim() - 1)
        shape[axis] = size
        mel = torch.where(hidden.view(shape), mean, mel)
    return mel


def pool_targets(targets: Tensor, cells: int) -> Tensor:
    """`[B, frames, K]` -> `[B, cells, K]`, 1 where active for more than 30 % of the cell."""
    pooled = nn.functional.adaptive_avg_pool1d(targets.float().transpose(1, 2), cells)
    return (pooled.transpose(1, 2) > 0.3).float()


def band_energies(mel: Tensor, cells: int, time_axis: int) -> Tensor:
    """Standardized features averaged over `cells` times and 8 bands, `[B, cells, 8]`."""
    mel = mel.squeeze(1) if mel.dim() == 4 else mel
    mel = mel if time_axis == 1 else mel.transpose(1, 2)
    mel = (mel - mel.mean()) / mel.std()
    return nn.functional.adaptive_avg_pool2d(mel[:, None], (cells, BANDS))[:, 0]


def tagging_loss(
    tagger: Tagger,
    batch: dict,
    time_axis: int,
    rng: torch.Generator | None,
    word_weight: float = 0.0,
) -> Tensor:
    """The training loss; `rng` enables SpecAugment."""
    mel = batch["mel"].float()
    outputs, mask = tagger(spec_augment(mel, rng) if rng else mel, batch["frames"])
    outputs = outputs.float()
    targets = pool_targets(batch["targets"], outputs.shape[1])
    binary = nn.functional.binary_cross_entropy_with_logits(
        outputs[..., :BINARY_END], targets, reduction="none"
    )
    bands = (outputs[..., BINARY_END:] - band_energies(mel, outputs.shape[1], time_axis)) ** 2
    kinds, words, pitches = (
        binary[..., :KINDS_END].mean(-1),
        binary[..., KINDS_END:WORDS_END].mean(-1),
        binary[..., WORDS_END:].mean(-1),
    )
    per_cell = 2 * kinds + 3 * words + pitches + 0.2 * bands.mean(-1)
    loss = (per_cell * mask).sum() / mask.sum()
    # Where a word is spoken, classify it: binary terms alone mostly learn that words are rare.
    spoken = (targets[..., KINDS_END:WORDS_END].sum(-1) == 1) & mask
    if word_weight and spoken.any():
        which = nn.functional.cross_entropy(
            outputs[..., KINDS_END:WORDS_END][spoken],
            targets[..., KINDS_END:WORDS_END][spoken].argmax(-1),
        )
        loss = loss + word_weight * which
    return loss


@torch.no_grad()
def scores(tagger: Tagger, corpus: Corpus, name: str) -> dict[str, float]:
    """Top-1 accuracy over held-out cells for kind, word and pitch: any active one counts."""
    tagger.eval()
    hits, totals = torch.zeros(3), torch.zeros(3)
    targets_of, (features, frames) = torch.stack(corpus.labels), corpus.audio[name]
    for rows in torch.arange(len(targets_of)).split(64):
        outputs, mask = tagger(features[rows].float(), frames[rows])
        targets = pool_targets(targets_of[rows], outputs.shape[1])
        spans = ((0, KINDS_END), (KINDS_END, WORDS_END), (WORDS_END, BINARY_END))
        for i, (first, last) in enumerate(spans):
            target = targets[..., first:last]
            there = (target.sum(-1) > 0) & mask
            best = outputs[..., first:last].argmax(-1, keepdim=True)
            hits[i] += target.gather(-1, best)[..., 0][there].sum()
            totals[i] += there.sum()
    return dict(zip(("kind", "word", "pitch"), (hits / totals).tolist(), strict=True))


def batches(corpus: Corpus, name: str, size: int, rng: torch.Generator) -> Iterator[dict]:
    """Endless shuffled batches."""
    targets, (features, frames) = torch.stack(corpus.labels), corpus.audio[name]
    while True:
        for rows in torch.randperm(len(targets), generator=rng).split(size):
            yield {"mel": features[rows], "frames": frames[rows], "targets": targets[rows]}


def save_half(encoder: AudioEncoder, path: Path) -> None:
    """Writes an encoder in float16, without index tables that it computes itself."""
    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in encoder.state_dict().items()
        if not k.endswith("relative_position_index")
    }
    save_file(state, path)


def pretrain_encoders(
    out: Path,
    *,
    encoders: dict,
    steps: dict[str, int],
    clips: int = 8000,
    held_out: int = 400,
    batch: int = 24,
    lr: float = 1e-3,
    bf16: bool = False,
    speech_share: float = 0.0,
    word_weight: float = 0.0,
    seed: int = 0,
    workers: int = 2,
) -> dict[str, dict[str, float]]:
    """Trains each encoder and writes `<out>/<name>.safetensors` (float16).

    Args:
        out: output folder.
        encoders: the `encoders` of a model configuration; training starts from their checkpoints,
            null means random initialization.
        steps: optimizer steps by encoder; encoders not listed are skipped.
        clips, held_out: number of training and held-out scenes.
        batch: batch size in clips.
        lr: peak learning rate.
        bf16: autocast to bfloat16.
        speech_share: additional fraction of speech scenes, beyond the usual twelfth.
        word_weight: weight of an additional cross-entropy over words.
        workers: number of DataLoader workers.

    Returns:
        Held-out accuracies by encoder.

    Raises:
        ValueError: if the encoders differ in `window_s`.
    """
    torch.manual_seed(seed)
    chosen = {name: encoders[name] for name in steps}
    windows = {e["features"]["window_s"] for e in chosen.values()}
    if len(windows) != 1:
        raise ValueError(f"encoders must have the same window_s, got {sorted(windows)}")
    frames = round(windows.pop() / FRAME_S)
    corpus = Corpus.of(_Scenes(chosen, clips, seed, frames, speech_share), workers)
    held = Corpus.of(_Scenes(chosen, held_out, seed + 1_000_000, frames), workers)
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name, count in steps.items():
        start = chosen[name].get("checkpoint")
        tagger = Tagger(build_encoder(**{**chosen[name], "checkpoint": start and resolve(start)}))
        time_axis = 2 if chosen[name]["type"] == "whisper" else 1
        rng = torch.Generator().manual_seed(seed)
        fit(
            tagger,
            batches(corpus, name, batch, rng),
            lambda b, t=tagger, axis=time_axis, r=rng: tagging_loss(t, b, axis, r, word_weight),
            steps=count,
            lr=lr,
            bf16=bf16,
            label=f"encoder {name}",
        )
        results[name] = scores(tagger, held, name)
        save_half(tagger.encoder, out / f"{name}.safetensors")
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in results[name].items()))
    return results
