"""Clotho-AQA: questions about Clotho's clips, each answered by three people.

Source: the columns of clotho_aqa_train.csv, clotho_aqa_val.csv and clotho_aqa_test.csv. Half of
the questions are answered by yes or no, the others by one word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.corpora.items import checked_text, open_question
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.records import Corpus, Item, Record, grouped, record_id
from pal_plugin.corpora.tables import Row, listed, read_csv
from pal_plugin.utils.errors import ConfigError

_COLUMNS = ("file_name", "QuestionText", "answer", "confidence")


def read_clotho_aqa(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`file_name, QuestionText, answer, confidence`; one row for each person's answer.

    The answer is the most frequent one. Where it is yes or no, it alone is accepted, and a question
    without a majority is a problem; of one-word answers all are accepted. Every item's facts hold
    `given` and `confidence` of each person, and `agreement` ("unanimous", "majority", "none").
    """
    questions: dict[tuple[str, str], list[Row]] = {}
    problems: list[str] = []
    for path in files:
        for row in read_csv(path, _COLUMNS):
            with listed(problems, row):
                question = checked_text(row["QuestionText"], "QuestionText")
                checked_text(row["answer"], "answer")
                questions.setdefault((row["file_name"], question), []).append(row)
    records = []
    for (audio, question), rows in questions.items():
        with listed(problems, rows[0]):
            records.append(Record(record_id(audio), audio, [_item(question, rows)]))
    return Corpus(grouped(records), None, problems)


def _item(question: str, rows: Sequence[Row]) -> Item:
    given = [row["answer"].strip().lower() for row in rows]
    counts = Counter(given).most_common()
    answer, votes = counts[0]
    tied = len(counts) > 1 and counts[1][1] == votes
    closed = set(given) <= {"yes", "no"}
    if closed and tied:
        raise ConfigError(f"as many say yes as no to {question!r}")
    agreement = "majority" if 2 * votes > len(given) else "none"
    facts = {
        "agreement": "unanimous" if votes == len(given) else agreement,
        "given": given,
        "confidence": [row["confidence"] for row in rows],
    }
    return open_question(
        "qa",
        "yes_no" if closed else "single_word",
        question,
        answer,
        answers=[answer] if closed else [text for text, _ in counts],
        facts=facts,
    )
