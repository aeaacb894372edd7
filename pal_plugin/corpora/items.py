"""Items in the package's form, one function per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pal_plugin.corpora.prompts import multiple_choice_prompt
from pal_plugin.corpora.records import Item
from pal_plugin.errors import ConfigError


def caption(question: str, texts: Sequence[str]) -> Item:
    """A caption with all its references."""
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise ConfigError("a caption is empty; expected at least one text")
    return _item("caption", "caption", question, texts[0], answers=texts)


def classification(question: str, label: str, kind: str = "classification", **more: Any) -> Item:
    """One label out of the corpus's labels."""
    return _item("classification", kind, question, label, **{"answers": [label], **more})


def tags(question: str, labels: Sequence[str]) -> Item:
    """Several labels out of the corpus's labels; the answer names all of them."""
    return _item("classification", "tags", question, "; ".join(labels), labels=list(labels))


def multiple_choice(
    protocol: str, stem: str, choices: Sequence[str], answer: str, kind: str, **more: Any
) -> Item:
    """One of several choices.

    Raises:
        ConfigError: the answer is not among the choices.
    """
    choices = [str(choice) for choice in choices]
    if answer not in choices:
        raise ConfigError(f"the answer {answer!r} is not among the choices {choices}")
    return _item(
        "multiple_choice",
        kind,
        multiple_choice_prompt(protocol, stem, choices),
        answer,
        answers=[answer],
        candidates=choices,
        stem=stem,
        protocol=protocol,
        **more,
    )


def open_question(task: str, kind: str, question: str, answer: str, **more: Any) -> Item:
    """A question with a text as answer ("qa", "reasoning", "chat", "transcript")."""
    return _item(task, kind, question, answer, **{"answers": [answer], **more})


def _item(task: str, kind: str, question: str, answer: str, **more: Any) -> Item:
    return {
        "task": task,
        "question_type": kind,
        "question": question,
        "answer": answer,
        **{name: value for name, value in more.items() if value not in (None, {}, [])},
    }
