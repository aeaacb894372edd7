"""The chat format: one place that turns a question into a prompt and an answer into a target.

Audio is not marked by a placeholder: PLITS puts it in front of the whole text, LAL beside it.
"""

from __future__ import annotations

QUESTION = "<|user|>"
ANSWER = "<|assistant|>"
END = "<|end|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = [PAD, END, QUESTION, ANSWER]


def prompt(question: str) -> str:
    """What the model reads before it answers."""
    return f"{QUESTION}{question.strip()}{ANSWER}"


def target(answer: str) -> str:
    """What the model is trained to write after `prompt`."""
    return f"{answer.strip()}{END}"
