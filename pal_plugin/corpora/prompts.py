"""Prompts of the published protocols, and their multiple-choice templates.

Verbatim, spaces included: LTU's and GAMA's close-ended questions, and MMAU's template.

Close but not verbatim: MuChoMusic's (the original has a line break and a space before `Options:`
and before `The correct answer is:`, and optionally an in-context example) and AIR-Bench's (the same
words for four choices; the original also lists missing choices, as `C. None`). Scores under these
two are not exactly comparable to published ones.

Datasets without a published prompt use this package's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

CLASSIFY = "Close-ended question: Write an audio caption describing the sound."
AUDIOCAPS = "Close-ended question: Write an audio caption describing the sound, in AudioCaps style."
CLOTHO = "Close-ended question: Create a caption for audio, in Clotho style."
CAPTION = "Describe the audio."
TRANSCRIBE = "What is said?"
DIGIT = "Which digit is spoken?"

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _mmau(question: str, choices: Sequence[str]) -> str:
    # The original script formats the list with Python's repr.
    return f"{question}  Select one option from the provided choices.\n{list(choices)}."


def _muchomusic(question: str, choices: Sequence[str]) -> str:
    options = " ".join(f"({_LETTERS[i]}) {choice}" for i, choice in enumerate(choices))
    return f"Question: {question} Options: {options} The correct answer is:"


def _airbench(question: str, choices: Sequence[str]) -> str:
    options = "\n".join(f"{_LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
    return (
        "Choose the most suitable answer from options A, B, C, and D to respond the question in "
        f"next line, you may only choose A or B or C or D.\n{question}\n{options}"
    )


#: Protocol name to the template that builds `question` from `stem` and `candidates`.
PROTOCOLS: dict[str, Callable[[str, Sequence[str]], str]] = {
    "mmau": _mmau,
    "muchomusic": _muchomusic,
    "airbench": _airbench,
}


def multiple_choice_prompt(protocol: str, stem: str, choices: Sequence[str]) -> str:
    """Builds a multiple-choice question with the protocol's template.

    Args:
        protocol: a name in `PROTOCOLS`.
        stem: the question without its choices.
        choices: choices in display order; 2 to 26.

    Raises:
        ConfigError: if the protocol is unknown, or the number of choices is out of range.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"no protocol {protocol!r}. {did_you_mean(protocol, list(PROTOCOLS))}")
    if not 2 <= len(choices) <= len(_LETTERS):
        raise ConfigError(f"expected 2 to {len(_LETTERS)} choices, got {len(choices)}: {choices}")
    return PROTOCOLS[protocol](stem, choices)
