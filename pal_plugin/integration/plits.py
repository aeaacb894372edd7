"""PLITS: audio tokens are prepended to the LLM's input and pass through every layer.

The usual baseline. The sequence `[H; h]` enters the LLM; attention and FFN are computed for all of
its positions (PAL paper, section "PLITS"). Everything happens before the LLM, which stays stock.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pal_plugin.types import AudioTokens


def prepend(
    tokens: AudioTokens, embeds: Tensor, mask: Tensor, embedding_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Put audio in front of the text.

    Args:
        tokens: audio, features `[B, m, D]`.
        embeds: text embeddings `[B, n, D]`.
        mask: `[B, n]`, 1 or True where a text token is valid.
        embedding_scale: what the LLM multiplies its inputs with; the audio is divided by it.

    Returns:
        Embeddings `[B, m + n, D]` and a mask `[B, m + n]` of the text mask's dtype.

    Raises:
        ValueError: audio and text differ in batch or width.
    """
    audio = tokens.features
    if (audio.shape[0], audio.shape[2]) != (embeds.shape[0], embeds.shape[2]):
        raise ValueError(
            f"audio {tuple(audio.shape)} and text {tuple(embeds.shape)} must agree in batch and "
            "width; is the connector's output as wide as the LLM?"
        )
    audio = torch.where(tokens.mask[..., None], audio, 0).to(embeds.dtype) / embedding_scale
    return torch.cat([audio, embeds], 1), torch.cat([tokens.mask.to(mask.dtype), mask], 1)
