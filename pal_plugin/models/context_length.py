"""What fits into the LLM's context: text, audio and the answer share its positions.

LAL's audio takes positions like PLITS's, without being part of the row; cross-attention's takes
none. Beyond `max_position_embeddings` an LLM still answers, by positions it was never trained on:
that is an error here, and nothing is ever cut to make it fit.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pal_plugin.attention.context import repeat_rows
from pal_plugin.integration import LLMInputs


def positions_taken(inputs: LLMInputs) -> Tensor:
    """Positions that the prompt takes in each row, Long `[R]`."""
    taken = inputs.mask.sum(-1)
    if inputs.audio is not None:
        taken = taken + repeat_rows(inputs.audio.mask.sum(-1), len(taken))
    return taken


def check_context(config: Any, inputs: LLMInputs, answer: int, what: str = "the prompt") -> None:
    """Raises ValueError if a prompt and its answer take more positions than the LLM has.

    Args:
        config: the decoder's; without `max_position_embeddings`, everything fits.
        inputs: the prompts.
        answer: most tokens that an answer may have.
        what: name of the prompt in the message.
    """
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return
    taken = positions_taken(inputs)
    row = int(taken.argmax())
    over = int(taken[row]) + answer - limit
    if over > 0:
        text = int(inputs.text_mask[row].sum())
        raise ValueError(
            f"{what} has {text} tokens of text and {int(taken[row]) - text} of audio; with up to "
            f"{answer} of the answer that is {over} more than the LLM's context of {limit}. "
            "Nothing is cut: shorten the text or the audio, or allow a shorter answer"
        )
