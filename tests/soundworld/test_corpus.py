"""The text corpus: chat format, enough evidence, a small vocabulary."""

import re
from itertools import islice

from pal_plugin.llm.pocket_chat import ANSWER, END, QUESTION
from pal_plugin.soundworld import LABELS, text_corpus

TEXTS = list(islice(text_corpus(3), 4000))


def parsed(text):
    description, *turns = text.split(QUESTION)
    pairs = []
    for turn in turns:
        question, answer = turn.split(ANSWER)
        assert answer.endswith(END)
        pairs.append((question, answer.removesuffix(END)))
    return description, pairs


def test_chat_format():
    for text in TEXTS:
        _, pairs = parsed(text)
        assert 2 <= len(pairs) <= 4
        assert len({question for question, _ in pairs}) == len(pairs)
        assert all(question.endswith(("?", ".")) and answer for question, answer in pairs)


def test_a_tenth_has_no_description():
    share = sum(not parsed(text)[0] for text in TEXTS) / len(TEXTS)
    assert 0.07 < share < 0.13


def test_same_seed_same_texts():
    assert list(islice(text_corpus(3), 20)) == TEXTS[:20]
    assert list(islice(text_corpus(4), 20)) != TEXTS[:20]


def test_the_vocabulary_is_small():
    words = {word for text in TEXTS for word in re.findall(r"[a-z]+", text.lower())}
    assert 100 < len(words) < 250
    assert set(" ".join(LABELS).replace("speech", "voice").split()) <= words


OPPOSITE = {"higher": "lower", "lower": "higher"}
NUMERALS = ["zero", "one", "two", "three", "four", "five"]


def evidence(description, question):
    """The answer as a reader finds it in the description; None for other kinds of question."""
    if question.startswith("How many words"):
        return NUMERALS[len(re.search('"(.*)"', description).group(1).split())]
    if question.startswith("How many"):
        plural = question.removeprefix("How many ").split(" are ")[0].split(" do ")[0]
        found = re.search(rf"(\w+) (?:(?:loud|quiet|low|high) )*{plural}\b", description)
        return found.group(1) if found else "one"
    if question.startswith(("What is said", "Write down", "Which words", "What does the voice")):
        return re.search('"(.*)"', description).group(1)
    if question.startswith("Is the second"):
        return re.search(r"the second (\w+)", description).group(1)
    if " higher or lower than the " in question:
        first, second = re.match(r"Is the (.*) higher or lower than the (.*)\?", question).groups()
        a, word, b = re.search(r"the ([\w ]+) is (\w+) than the ([\w ]+)", description).groups()
        assert {a, b} == {first, second}
        return word if a == first else OPPOSITE[word]
    if question.startswith("Which is louder"):
        return re.search(r"\bloud (?:(?:low|high) )*(\w+ burst|\w+)", description).group(1)
    if question.startswith("Does the"):
        return re.search(r"\b(?:go|goes|going) (up|down)\b", description).group(1)
    return None


def test_answers_can_be_read_from_the_description():
    checked = set()
    for text in TEXTS:
        description, pairs = parsed(text)
        for question, answer in pairs if description else ():
            found = evidence(description, question)
            if found is not None:
                answer = {"speech": "voice"}.get(answer, answer)
                assert found in (answer, f"{answer}s", "melodies"), text
                checked.add(" ".join(question.split()[:3]))
    assert len(checked) > 15
