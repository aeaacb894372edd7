"""Warm-up of one connector alone: its tokens spell the answer in the LLM's own token embeddings.

Otherwise a connector learns of an answer through the whole LLM, which first finds out which texts
are likely and hears speech late. Here each audio token is compared with the embeddings of words
directly, under CTC (Graves et al., ICML 2006), which needs to know no moments: minutes on a CPU,
since the LLM's layers are not run, and the LLM then begins with audio that resembles text. Not of
the PAL paper.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pal_plugin.types import AudioTokens

#: A logit is this much times the cosine of an audio token and an embedding.
SHARPNESS = 30.0
#: The logit of the blank, which has no vector of its own: a word has to be closer than a third.
BLANK = 10.0
#: Tokens that a batch is told apart from besides its own: the first ones of the vocabulary, which
#: byte-pair encodings number by frequency, and as many drawn for each batch from all. The whole
#: vocabulary would make a step several times as long, and the first ones alone leave others close
#: to the audio that never stood against it.
OTHERS = 4096


def ctc(
    tokens: AudioTokens, embeddings: Tensor, answers: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the answers, given what the audio tokens are close to.

    Only directions count. A second term, which takes nothing from the first, holds the tokens'
    norms at the mean norm of the embeddings: as loud as the LLM's own words.

    Args:
        tokens: `[R, N, D]` of the answers' clips.
        embeddings: `[V, D]`, of the LLM's input.
        answers: ids of each row, without the end mark.

    Returns:
        `loss`, the mean over all answer tokens and the second term, and `[R]`, the mean over each
        answer. Answers that are longer than their audio, or empty, count 0, and the first are
        logged.
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
        # Valid tokens first: CTC reads so many of each row.
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
    # A token that is said twice in a row has a blank between.
    needed = [len(ids) + sum(a == b for a, b in pairwise(ids)) for ids in answers]
    fits = frames >= torch.tensor(needed, device=device)
    if not fits.all():
        logging.warning(
            "%d answers are left out, being longer than their audio: up to %d tokens in %d",
            int((~fits).sum()),
            int(lengths[~fits].max()),
            int(frames[~fits].max()),
        )
    loss = losses.sum() / lengths.sum().clamp(min=1) + (strength - 1).square().mean()
    return loss, losses.detach() / lengths.clamp(min=1)


def _rivals(known: Tensor, vocabulary: int) -> Tensor:
    """Ids of the batch's own tokens, and behind them of those that they are told apart from."""
    common = torch.arange(min(OTHERS, vocabulary))
    drawn = torch.randperm(vocabulary)[:OTHERS]
    others = torch.cat([common, drawn]).unique().to(known.device)
    return torch.cat([known, others[~torch.isin(others, known)]])


def _log_probabilities(heard: Tensor, words: Tensor) -> Tensor:
    """`[T, 1 + W]` of the blank and of each of `words` `[W, D]`, for audio tokens `[T, D]`."""
    cosines = functional.normalize(heard, dim=1) @ functional.normalize(words, dim=1).T
    return functional.pad(SHARPNESS * cosines, (1, 0), value=BLANK).log_softmax(1)
