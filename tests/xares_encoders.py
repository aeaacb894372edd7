"""Encoders with XARES-LLM's contract, as users write them: one ignores its mask, others return what
the contract does not allow."""

import torch
from torch import nn

HOP = 320


class Attending(nn.Module):
    """Every token attends to all of them, padding included, whatever the mask says."""

    def __init__(self, output_dim=8, gives_mask=False, **changes):
        super().__init__()
        self.output_dim = output_dim
        self.cells = nn.Linear(HOP, output_dim)
        self.attention = nn.MultiheadAttention(output_dim, 2, batch_first=True)
        self.gives_mask, self.changes = gives_mask, changes
        self.heard = []

    def forward(self, audio, audio_attention_mask=None):
        self.heard.append((audio.detach().clone(), audio_attention_mask))
        missing = -audio.shape[1] % HOP
        cells = self.cells(nn.functional.pad(audio, (0, missing)).unflatten(1, (-1, HOP)))
        features = cells + self.attention(cells, cells, cells, need_weights=False)[0]
        mask = torch.ones(features.shape[:2]) if self.gives_mask else None
        return self.changes.get("made", features), self.changes.get("mask", mask)


class Padding(Attending):
    """As Whisper: pads to two seconds, and the mask tells what belongs to the clip."""

    def forward(self, audio, audio_attention_mask=None):
        whole = nn.functional.pad(audio, (0, 32000 - audio.shape[1]))
        features, _ = super().forward(whole)
        valid = -(-audio_attention_mask.sum(1) // HOP)
        mask = torch.arange(features.shape[1]) < valid[:, None]
        return features, mask.int()


class Normalizing(Attending):
    """Has running means."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, audio, audio_attention_mask=None):
        features, mask = super().forward(audio, audio_attention_mask)
        return self.norm(features.transpose(1, 2)).transpose(1, 2), mask


class Swapped(Attending):
    """Fewer tokens of more audio."""

    def forward(self, audio, audio_attention_mask=None):
        features, mask = super().forward(audio, audio_attention_mask)
        return features[:, : 64000 // audio.shape[1]], mask


class Single(Attending):
    """Returns the features alone."""

    def forward(self, audio, audio_attention_mask=None):
        return super().forward(audio, audio_attention_mask)[0]


class OneArgument(Attending):
    """Takes no mask."""

    def forward(self, audio):
        return super().forward(audio)


class NoSize(nn.Linear):
    """No output_dim."""

    def __init__(self):
        super().__init__(2, 2)


class NoParameters(nn.Module):
    """A transform."""

    output_dim = 4

    def forward(self, audio, audio_attention_mask=None):
        return audio[:, :40].unflatten(1, (-1, 4)), None


def function(**_):
    """No class."""
