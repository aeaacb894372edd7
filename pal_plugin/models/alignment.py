"""Connector warm-up: aligns audio tokens with the LLM's token embeddings of the answer, by CTC.

Otherwise a connector learns through the whole LLM, which first learns which texts are likely and
attends to speech late. Here each audio token is compared with the token embeddings directly, under
CTC (Graves et al., ICML 2006), which needs no time alignment: minutes on a CPU, since the LLM's
layers are not run, and the LLM then starts with audio that resembles text. Not part of the PAL
paper.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pal_plugin.types import AudioTokens

#: A logit is this factor times the cosine of an audio token and an embedding.
SHARPNESS = 30.0
#: Logit of the blank, which has no embedding: a word needs a cosine above a third.
BLANK = 10.0
#: Negatives besides the batch's own tokens: the first ones of the vocabulary, which byte-pair
#: encodings sort by frequency, and as many drawn from all of it per batch. The whole vocabulary
#: would make a step several times as long, and the first ones alone would leave other tokens close
#: to the audio, never having been negatives.
OTHERS = 4096


def ctc(
    tokens: AudioTokens, embeddings: Tensor, answers: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """CTC loss of the answers, given the similarities of audio tokens and token embeddings.

    Only directions matter. An independent second term keeps the tokens' norms at the mean norm of
    the embeddings, the scale of the LLM's own inputs.

    Args:
        tokens: `[R, N, D]`, the clip of each answer.
        embeddings: `[V, D]`, the LLM's input embeddings.
        answers: token ids of each row, without the end token.

    Returns:
        `loss`, the mean over all answer tokens plus the second term, and `[R]`, the mean over each
        answer. Answers that are empty or longer than their audio count 0; the latter are logged.
    """
    device = tokens.features.device
    lengths = torch.tensor([len(ids) for ids in answers], device=device)
    known, targets = torch.unique(
        torch.tensor([i for ids in answers for i in ids], device=device, dtype=torch.long),
        return_inverse=True,
    )
    frames = tokens.mask.sum(1)
    with torch.autocast(device.type, enabled=False):
        heard = tokens.features[tokens.mask].float()
        words = embeddings.detach()[_rivals(known, len(embeddings))].float()
        strength = heard.norm(dim=1) / words.norm(dim=1).mean()
        found = _log_probabilities(heard, words)[:, : 1 + len(known)]
        # Valid tokens first: CTC reads the first `frames` of each row.
        place = torch.arange(tokens.mask.shape[1], device=device) < frames[:, None]
        scores = found.new_zeros(*place.shape, found.shape[1])
        losses = functional.ctc_loss(
            scores.masked_scatter(place[..., None], found).transpose(0, 1),
            targets + 1,
            frames,
            lengths,
            reduction="none",
            zero_infinity=True,
        )
    # CTC needs a blank between repeated tokens.
    needed = [len(ids) + sum(a == b for a, b in pairwise(ids)) for ids in answers]
    fits = frames >= torch.tensor(needed, device=device)
    if not fits.all():
        logging.warning(
            "skipped %d answers longer than their audio: up to %d tokens in %d audio tokens",
            int((~fits).sum()),
            int(lengths[~fits].max()),
            int(frames[~fits].max()),
        )
    loss = losses.sum() / lengths.sum().clamp(min=1) + (strength - 1).square().mean()
    return loss, losses.detach() / lengths.clamp(min=1)


def _rivals(known: Tensor, vocabulary: int) -> Tensor:
    """Ids of the batch's own tokens, followed by those of the negatives."""
    common = torch.arange(min(OTHERS, vocabulary))
    drawn = torch.randperm(vocabulary)[:OTHERS]
    others = torch.cat([common, drawn]).unique().to(known.device)
    return torch.cat([known, others[~torch.isin(others, known)]])


def _log_probabilities(heard: Tensor, words: Tensor) -> Tensor:
    """Log-probabilities `[T, 1 + W]` of blank and `words` `[W, D]`, for audio tokens `[T, D]`."""
    cosines = functional.normalize(heard, dim=1) @ functional.normalize(words, dim=1).T
    return functional.pad(SHARPNESS * cosines, (1, 0), value=BLANK).log_softmax(1)
