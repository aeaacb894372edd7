"""Items in the package's form, one function per task, and what any item must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pal_plugin.corpora.prompts import multiple_choice_prompt
from pal_plugin.corpora.records import Item
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: All that can be asked.
TASKS = (
    *("classification", "caption", "qa", "transcript"),
    *("multiple_choice", "reasoning", "chat"),
)
_TEXTS = ("task", "question", "answer")
_LISTS = ("answers", "candidates", "labels")


def checked_text(value: Any, name: str) -> str:
    """A text that has something in it, without the space around it.

    Raises:
        ConfigError: it is empty or no text; `name` says what it should be.
    """
    if not isinstance(value, str) or not value.strip():
        got = f"{value!r:.80}" + ("" if isinstance(value, str) else f" ({type(value).__name__})")
        raise ConfigError(f"expected a text as {name}, got {got}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"expected a text as {name}, got half of a character in {value!r:.80}")
    return value.strip()


def caption(question: str, texts: Sequence[str], **more: Any) -> Item:
    """A caption with all its references.

    Raises:
        ConfigError: there is none, or one of them is empty or no text.
    """
    if isinstance(texts, str) or not texts:
        raise ConfigError(f"expected a list of captions, got {texts!r:.80}")
    texts = [checked_text(text, "caption") for text in texts]
    return _item("caption", "caption", question, texts[0], answers=texts, **more)


def classification(question: str, label: str, kind: str = "classification", **more: Any) -> Item:
    """One label out of the corpus's labels."""
    return _item("classification", kind, question, label, **{"answers": [label], **more})


def tags(question: str, labels: Sequence[str]) -> Item:
    """Several labels out of the corpus's labels; the answer names all of them."""
    labels = [checked_text(label, "label") for label in labels]
    return _item("classification", "tags", question, "; ".join(labels), labels=labels)


def multiple_choice(
    protocol: str, stem: str, choices: Sequence[str], answer: str, kind: str, **more: Any
) -> Item:
    """One of several choices.

    Raises:
        ConfigError: the answer is not among the choices, or the question is empty.
    """
    if not isinstance(choices, list | tuple):
        raise ConfigError(f"expected a list of choices, got {choices!r:.80}")
    choices, answer = [str(choice) for choice in choices], str(answer)
    checked_text(stem, "question")
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


def item_faults(items: Sequence[Any]) -> list[str]:
    """What is wrong with items of other makers, one line an item."""
    faults = []
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            faults.append(f"item {number} is {item!r:.80}, expected an object")
            continue
        missing = [name for name in _TEXTS if not item.get(name)]
        other = [name for name in _TEXTS if item.get(name) and not isinstance(item[name], str)]
        if missing:
            faults.append(f"item {number} has no {', '.join(missing)}")
        elif not_lists := [k for k in _LISTS if not isinstance(item.get(k) or [], list)]:
            faults.append(f"item {number} has no list as {', '.join(not_lists)}")
        elif other:
            faults.append(f"item {number} has no text as {', '.join(other)}")
        elif item["task"] not in TASKS:
            known = did_you_mean(item["task"], TASKS)
            faults.append(f"item {number} has the task {item['task']!r}, which is not one. {known}")
    return faults


def checked_items(items: Sequence[Any]) -> list[Item]:
    """Items of other makers; one without `question_type` gets its task's name as such.

    Raises:
        ConfigError: an item is no object, lacks `task`, `question` or `answer`, or has another task
            than those of `TASKS`.
    """
    faults = item_faults(items)
    if faults:
        raise ConfigError("; ".join(faults[:3]))
    return [{**item, "question_type": item.get("question_type") or item["task"]} for item in items]


def _item(task: str, kind: str, question: str, answer: str, **more: Any) -> Item:
    checked_text(question, "question")
    checked_text(answer, "answer")
    return {
        "task": task,
        "question_type": kind,
        "question": question,
        "answer": answer,
        **{name: value for name, value in more.items() if value not in (None, {}, [])},
    }
