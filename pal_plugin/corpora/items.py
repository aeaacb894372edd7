"""Items in the package's format: one constructor per task, and validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pal_plugin.corpora.prompts import PROTOCOLS, multiple_choice_prompt
from pal_plugin.corpora.records import Item
from pal_plugin.corpora.texts import checked_label, checked_text, one_form, text_fault
from pal_plugin.utils.characters import composed
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.messages import clips_of, question_and_answer
from pal_plugin.utils.spelling import did_you_mean

#: All supported tasks.
TASKS = (
    *("classification", "caption", "qa", "transcript"),
    *("multiple_choice", "reasoning", "chat"),
)
_TEXTS = ("task", "question", "answer")
_LISTS = ("answers", "candidates", "labels")
_MORE_TEXTS = ("question_type", "stem", "protocol")
#: Values that count as absent.
_NONE = (None, "", [], {})


def caption(question: str, texts: Sequence[str], **more: Any) -> Item:
    """A caption item with all its references.

    Raises:
        ConfigError: if there are none, or one is empty or not text.
    """
    if isinstance(texts, str) or not texts:
        raise ConfigError(f"expected a list of captions, got {texts!r:.80}")
    texts = [checked_text(text, "caption") for text in texts]
    return _item("caption", "caption", question, texts[0], answers=texts, **more)


def classification(question: str, label: str, kind: str = "classification", **more: Any) -> Item:
    """A single-label item; its candidates are the corpus's labels.

    Raises:
        ConfigError: if the label is empty or not text.
    """
    label = checked_label(label, "answer")
    return _item("classification", kind, question, label, **{"answers": [label], **more})


def tags(question: str, labels: Sequence[str]) -> Item:
    """A multi-label item, without repeated labels; the answer joins all of them.

    Raises:
        ConfigError: if a label is empty or not text.
    """
    labels = list(dict.fromkeys(checked_label(label, "label") for label in labels))
    return _item("classification", "tags", question, "; ".join(labels), labels=labels)


def multiple_choice(
    protocol: str, stem: str, choices: Sequence[str], answer: str, kind: str, **more: Any
) -> Item:
    """A multiple-choice item.

    Raises:
        ConfigError: if a choice is empty or neither text nor number, if choices differ only in
            their Unicode form, if the answer is not among them, or if the question is empty.
    """
    if not isinstance(choices, list | tuple):
        raise ConfigError(f"expected a list of choices, got {choices!r:.80}")
    choices = [_choice(choice, number) for number, choice in enumerate(choices, 1)]
    forms = dict(zip(map(composed, choices), choices, strict=True))
    if len(forms) < len(set(choices)):
        raise ConfigError(f"choices {choices} differ only in Unicode form; expected distinct texts")
    answer = forms.get(composed(str(answer)), str(answer))
    checked_text(stem, "question")
    if answer not in choices:
        raise ConfigError(f"answer {answer!r} is not among the choices {choices}")
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
    """An item with a free-text answer ("qa", "reasoning", "chat", "transcript")."""
    return _item(task, kind, question, answer, **{"answers": [answer], **more})


def item_faults(items: Sequence[Any], clips: int | None = None) -> list[str]:
    """Validates items from other sources; one line per faulty item, naming the field.

    Args:
        clips: see `checked_items`.
    """
    faults = ((number, _fault(item, clips)) for number, item in enumerate(items))
    return [f"item {number} {fault}" for number, fault in faults if fault is not None]


def checked_items(items: Sequence[Any], clips: int | None = None) -> list[Item]:
    """Validates and normalizes items from other sources: sets a missing `question_type` to the
    task, drops empty fields, and normalizes labels (`texts.one_form`). `question` and `answer` of
    an item with `messages` are those of its last turn.

    Args:
        clips: number of clips in a sample of conversations; None: a sample of one clip.

    Raises:
        ConfigError: if an item is not an object, lacks `task`, `question` or `answer`, has a
            non-text value in a text field, a task that is not in `TASKS`, or messages that are
            invalid or refer to fewer or more clips than there are.
    """
    faults = item_faults(items, clips)
    if faults:
        raise ConfigError("; ".join(faults[:3]))
    return [_completed(_spoken(item)) for item in items]


def _fault(item: Any, clips: int | None) -> str | None:
    if not isinstance(item, dict):
        return f"is {item!r:.80}, expected an object"
    if "messages" in item:
        fault = _messages_fault(item, 1 if clips is None else clips)
        if fault is not None:
            return fault
        item = _spoken(item)
    elif clips is not None:
        return f"has no messages, which a sample of {clips} clips needs"
    missing = [name for name in _TEXTS if not item.get(name)]
    if missing:
        return f"has no {', '.join(missing)}"
    not_lists = [name for name in _LISTS if not isinstance(item.get(name) or [], list)]
    if not_lists:
        return f"needs a list as {', '.join(not_lists)}"
    texts = {name: item[name] for name in (*_TEXTS, *_MORE_TEXTS) if item.get(name) not in _NONE}
    for name in _LISTS:
        texts |= {f"{name}[{n}]": value for n, value in enumerate(item.get(name) or [])}
    for name, value in texts.items():
        if (fault := text_fault(value)) is not None:
            return f"needs text as {name}, {fault}"
    if item["task"] not in TASKS:
        return f"has an unknown task {item['task']!r}. {did_you_mean(item['task'], TASKS)}"
    protocol = item.get("protocol")
    if protocol and protocol not in PROTOCOLS:
        known = did_you_mean(protocol, list(PROTOCOLS))
        return f"has an unknown protocol {protocol!r}. {known}"
    if not isinstance(item.get("facts") or {}, dict):
        return f"needs an object as facts, got {item['facts']!r:.80}"
    return None


def _messages_fault(item: Item, clips: int) -> str | None:
    if item.get("task") == "multiple_choice":
        return "is multiple_choice with messages; use classification with candidates"
    try:
        question_and_answer(item["messages"])
        named = clips_of(item["messages"])
    except ValueError as error:
        return f"has unusable messages: {error}"
    if any(isinstance(name, bool) or not isinstance(name, int) for name in named):
        return f"has the clips {named!r:.80} in its messages; expected numbers"
    if set(named) != set(range(clips)):
        return (
            f"has placeholders for {len(set(named))} clips ({', '.join(map(str, named)) or 'none'})"
            f" in its messages, but the sample has {clips}, numbered from 0"
        )
    return None


def _spoken(item: Item) -> Item:
    """The item with the texts of its last question and answer, if it is a conversation."""
    if "messages" not in item:
        return item
    question, answer = question_and_answer(item["messages"])
    return {**item, "question": question, "answer": answer}


def _completed(item: Item) -> Item:
    whole = {name: value for name, value in item.items() if value not in _NONE}
    whole.setdefault("question_type", whole["task"])
    if whole["task"] == "classification":
        whole["answer"] = one_form(whole["answer"])
        lists = {name: whole[name] for name in _LISTS if name in whole}
        whole |= {name: [one_form(label) for label in labels] for name, labels in lists.items()}
    return whole


def _choice(value: Any, number: int) -> str:
    """A choice unchanged, since published prompts keep its spaces; a number becomes text."""
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
