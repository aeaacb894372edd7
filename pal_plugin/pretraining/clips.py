"""Fine-tunes the pocket encoders on labelled recordings by clip-level classification.

Each encoder gets one linear head per domain on the mean of its valid tokens and is trained with
cross-entropy, starting from the shipped weights. Clips are decoded and augmented a few times in
advance, and their features kept in memory; shifts and masks vary per step.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pal_plugin.audio.augment import Augment
from pal_plugin.audio.io import load_audio
from pal_plugin.config.recipes import beside_recipes
from pal_plugin.encoders import build_encoder
from pal_plugin.encoders.base import AudioEncoder
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.pretraining.encoders import save_half, spec_augment
from pal_plugin.pretraining.loop import Corpus, fit
from pal_plugin.utils.locations import resolve

Rows = list[dict[str, str]]


class _Variants(Dataset):
    """Clip i in variant v -> features; variant 0 is the unmodified clip (its first window)."""

    def __init__(
        self, rows: Rows, folder: Path, encoders: dict, variants: dict, augment: Augment, seed: int
    ) -> None:
        self.frontend, self.augment, self.seed = AudioFrontend(encoders), augment, seed
        self.folder, self.rows = folder, rows
        self.jobs = [(i, v) for i, row in enumerate(rows) for v in range(variants[row["domain"]])]

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int):
        torch.set_num_threads(1)
        clip, variant = self.jobs[index]
        waveform, rate_hz = load_audio(self.folder / self.rows[clip]["filename"])
        if variant:
            rng = random.Random(f"{self.seed}-{clip}-{variant}")
            waveform = self.augment.waveform(waveform, rate_hz, rng)
        audio = self.frontend((waveform, rate_hz))
        return clip, {n: (a["features"][:1].half(), a["frames"][:1]) for n, a in audio.items()}


class Classifier(nn.Module):
    """An encoder with a linear head per domain on the mean of its valid tokens."""

    def __init__(self, encoder: AudioEncoder, labels: dict[str, list[str]]) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.LayerNorm(encoder.width)
        self.heads = nn.ModuleDict({d: nn.Linear(encoder.width, len(c)) for d, c in labels.items()})

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Pooled features `[B, width]`, the input of the heads."""
        tokens = self.encoder(mel, frames)
        weight = tokens.mask[..., None].float()
        mean = (tokens.features.float() * weight).sum(1) / weight.sum(1)
        return nn.functional.dropout(self.norm(mean), 0.2, self.training)


def balanced_batches(
    corpus: Corpus, rows: Rows, labels: dict, name: str, size: int, rng: torch.Generator
) -> Iterator[dict]:
    """Endless domain-balanced batches; the corpus's labels are clip indices."""
    mels, frames = corpus.audio[name]
    by_domain = {
        d: torch.tensor([j for j, c in enumerate(corpus.labels) if rows[c]["domain"] == d])
        for d in labels
    }
    classes = torch.tensor(
        [labels[rows[c]["domain"]].index(rows[c]["category"]) for c in corpus.labels]
    )
    share = size // len(labels)
    while True:
        chosen = torch.cat(
            [p[torch.randint(len(p), (share,), generator=rng)] for p in by_domain.values()]
        )
        mel = spec_augment(mels[chosen].float(), rng, width=20, length=60)
        yield {"mel": mel, "frames": frames[chosen], "class": classes[chosen].split(share)}


def adapt_encoders(
    out: Path,
    *,
    encoders: dict,
    audio: str,
    annotations: str,
    steps: dict[str, int],
    variants: dict[str, int],
    augment: dict,
    batch: int = 24,
    lr: float = 5e-4,
    weight_decay: float = 0.05,
    bf16: bool = False,
    seed: int = 0,
    workers: int = 2,
) -> dict[str, int]:
    """Fine-tunes each encoder on rows of split "train"; writes `<out>/<name>.safetensors`.

    Args:
        out: output folder.
        encoders: the `encoders` of a model configuration; training starts from their checkpoints.
        audio: folder of the clips.
        annotations: CSV with columns filename, category, domain, split.
        steps: optimizer steps by encoder.
        variants: number of augmented variants in memory, by domain; 0 skips the domain.
        augment: arguments of `Augment`.
        batch: batch size in clips.
        lr: peak learning rate.
        bf16: autocast to bfloat16.
        workers: number of DataLoader workers.

    Returns:
        Number of training clips by domain. Held-out clips are not used.
    """
    torch.manual_seed(seed)
    with open(beside_recipes(annotations), newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    rows = [row for row in rows if variants[row["domain"]]]
    domains = sorted({row["domain"] for row in rows})
    labels = {d: sorted({r["category"] for r in rows if r["domain"] == d}) for d in domains}
    chosen = {name: encoders[name] for name in steps}
    data = _Variants(rows, Path(audio), chosen, variants, Augment(**augment), seed)
    corpus = Corpus.of(data, workers)
    out.mkdir(parents=True, exist_ok=True)
    for name, count in steps.items():
        source = resolve(chosen[name]["checkpoint"])
        model = Classifier(build_encoder(**{**chosen[name], "checkpoint": source}), labels)
        rng = torch.Generator().manual_seed(seed)

        def loss_of(samples: dict, model: Classifier = model) -> Tensor:
            parts = model(samples["mel"], samples["frames"]).chunk(len(domains))
            losses = [
                nn.functional.cross_entropy(model.heads[d](part), target, label_smoothing=0.1)
                for d, part, target in zip(domains, parts, samples["class"], strict=True)
            ]
            return torch.stack(losses).mean()

        fit(
            model,
            balanced_batches(corpus, rows, labels, name, batch, rng),
            loss_of,
            steps=count,
            lr=lr,
            weight_decay=weight_decay,
            bf16=bf16,
            label=f"encoder {name}",
        )
        save_half(model.encoder, out / f"{name}.safetensors")
    return {d: sum(row["domain"] == d for row in rows) for d in domains}
