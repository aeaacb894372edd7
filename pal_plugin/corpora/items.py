"""Items in the package's form, one function per task, and what any item must have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pal_plugin.corpora.prompts import PROTOCOLS, multiple_choice_prompt
from pal_plugin.corpora.records import Item
from pal_plugin.corpora.texts import checked_label, checked_text, one_form, text_fault
from pal_plugin.utils.characters import composed
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: All that can be asked.
TASKS = (
    *("classification", "caption", "qa", "transcript"),
    *("multiple_choice", "reasoning", "chat"),
)
_TEXTS = ("task", "question", "answer")
_LISTS = ("answers", "candidates", "labels")
_MORE_TEXTS = ("question_type", "stem", "protocol")
#: Fields that hold nothing.
_NONE = (None, "", [], {})


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
    """One label out of the corpus's labels.

    Raises:
        ConfigError: it is empty or no text.
    """
    label = checked_label(label, "answer")
    return _item("classification", kind, question, label, **{"answers": [label], **more})


def tags(question: str, labels: Sequence[str]) -> Item:
    """Several labels out of the corpus's labels, each once; the answer names all of them.

    Raises:
        ConfigError: one is empty or no text.
    """
    labels = list(dict.fromkeys(checked_label(label, "label") for label in labels))
    return _item("classification", "tags", question, "; ".join(labels), labels=labels)


def multiple_choice(
    protocol: str, stem: str, choices: Sequence[str], answer: str, kind: str, **more: Any
) -> Item:
    """One of several choices.

    Raises:
        ConfigError: a choice is empty or neither text nor number, or there in several forms of
            Unicode; the answer is not among them, or the question is empty.
    """
    if not isinstance(choices, list | tuple):
        raise ConfigError(f"expected a list of choices, got {choices!r:.80}")
    choices = [_choice(choice, number) for number, choice in enumerate(choices, 1)]
    forms = dict(zip(map(composed, choices), choices, strict=True))
    if len(forms) < len(set(choices)):
        raise ConfigError(f"of the choices {choices} some are one text in several forms of Unicode")
    answer = forms.get(composed(str(answer)), str(answer))
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
    """What is wrong with items of other makers, one line an item, with the field."""
    faults = ((number, _fault(item)) for number, item in enumerate(items))
    return [f"item {number} {fault}" for number, fault in faults if fault is not None]


def checked_items(items: Sequence[Any]) -> list[Item]:
    """Items of other makers; one without `question_type` gets its task's name as such, fields that
    hold nothing are left out, and labels are in one form (`texts.one_form`).

    Raises:
        ConfigError: an item is no object, lacks `task`, `question` or `answer`, has no texts where
            these belong, or another task than those of `TASKS`.
    """
    faults = item_faults(items)
    if faults:
        raise ConfigError("; ".join(faults[:3]))
    return [_completed(item) for item in items]


def _fault(item: Any) -> str | None:
    if not isinstance(item, dict):
        return f"is {item!r:.80}, expected an object"
    missing = [name for name in _TEXTS if not item.get(name)]
    if missing:
        return f"has no {', '.join(missing)}"
    not_lists = [name for name in _LISTS if not isinstance(item.get(name) or [], list)]
    if not_lists:
        return f"has no list as {', '.join(not_lists)}"
    texts = {name: item[name] for name in (*_TEXTS, *_MORE_TEXTS) if item.get(name) not in _NONE}
    for name in _LISTS:
        texts |= {f"{name}[{n}]": value for n, value in enumerate(item.get(name) or [])}
    for name, value in texts.items():
        if (fault := text_fault(value)) is not None:
            return f"has no text as {name}, {fault}"
    if item["task"] not in TASKS:
        return (
            f"has the task {item['task']!r}, which is not one. {did_you_mean(item['task'], TASKS)}"
        )
    protocol = item.get("protocol")
    if protocol and protocol not in PROTOCOLS:
        known = did_you_mean(protocol, list(PROTOCOLS))
        return f"has the protocol {protocol!r}, which is not one. {known}"
    if not isinstance(item.get("facts") or {}, dict):
        return f"has no object as facts, got {item['facts']!r:.80}"
    return None


def _completed(item: Item) -> Item:
    whole = {name: value for name, value in item.items() if value not in _NONE}
    whole.setdefault("question_type", whole["task"])
    if whole["task"] == "classification":
        whole["answer"] = one_form(whole["answer"])
        lists = {name: whole[name] for name in _LISTS if name in whole}
        whole |= {name: [one_form(label) for label in labels] for name, labels in lists.items()}
    return whole


def _choice(value: Any, number: int) -> str:
    """A choice as it is, since published wordings keep its spaces; a number as text."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    checked_text(value, f"choice {number}")
    return value


def _item(task: str, kind: str, question: str, answer: str, **more: Any) -> Item:
    checked_text(question, "question")
    checked_text(answer, "answer")
    return {
        "task": task,
        "question_type": kind,
        "question": question,
        "answer": answer,
        **{name: value for name, value in more.items() if value not in _NONE},
    }
