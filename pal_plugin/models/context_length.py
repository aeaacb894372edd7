"""What fits into the LLM's context: text, audio and the answer share its positions.

LAL's audio takes positions like PLITS's, without being part of the row: those in front of the text
are negative, and a rotary embedding then turns by the distance from there to the row's end.
Cross-attention's takes none. Beyond `max_position_embeddings` an LLM still computes something, by
positions it was never trained on: that is an error here, in training as in inference, and nothing
is ever cut to make it fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pal_plugin.attention.context import repeat_rows
from pal_plugin.integration import LLMInputs
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.spelling import first_of


class ContextLengthError(UserError, ValueError):
    """A row that is longer than the LLM's context; the message counts its text and audio tokens."""


def positions_taken(inputs: LLMInputs) -> Tensor:
    """Positions that the prompt takes in each row, Long `[R]`."""
    taken = inputs.mask.sum(-1)
    if inputs.audio is not None:
        taken = taken + repeat_rows(inputs.audio.mask.sum(-1), len(taken))
    return taken


def check_context(config: Any, inputs: LLMInputs, answer: int, what: str = "the prompt") -> None:
    """Raises ContextLengthError if a prompt and its answer take more positions than the LLM has.

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
        raise ContextLengthError(
            f"{what} has {text} tokens of text and {int(taken[row]) - text} of audio; with up to "
            f"{answer} of the answer that is {over} more than the LLM's context of {limit}. "
            "Nothing is cut: shorten the text or the audio, or allow a shorter answer"
        )


def check_rows(config: Any, inputs: LLMInputs, ids: Sequence[str] | None = None) -> None:
    """Raises ContextLengthError if a row of training, its answers included, takes more positions
    than the LLM has.

    The padded widths are numbers of the host. Only where they exceed the context are tokens
    counted, for which the device has to be waited for.

    Args:
        config: the decoder's; without `max_position_embeddings`, everything fits.
        inputs: the rows.
        ids: of the rows, for the message; None: their numbers in the batch.
    """
    limit = getattr(config, "max_position_embeddings", None)
    width = inputs.mask.shape[1] + (0 if inputs.audio is None else inputs.audio.mask.shape[1])
    if limit is None or width <= limit or inputs.mask.is_meta:  # a plan knows no lengths
        return
    taken = positions_taken(inputs).tolist()
    long = [row for row, count in enumerate(taken) if count > limit]
    if not long:
        return
    texts = inputs.text_mask.sum(-1).tolist()
    names = range(len(taken)) if ids is None else ids
    told = [
        f"row {names[row]} has {texts[row]} tokens of text, its answers included, and "
        f"{taken[row] - texts[row]} of audio, {taken[row] - limit} more than the context"
        for row in long
    ]
    raise ContextLengthError(
        f"{len(long)} of the batch's {len(taken)} rows are longer than the LLM's context of "
        f"{limit} tokens: {first_of(told, '; ')}. Nothing is cut: leave such rows out, shorten "
        "their texts, split their clips, or let the connector give fewer audio tokens"
    )
