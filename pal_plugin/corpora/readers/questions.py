"""Open-ended questions: OpenAQA (LTU), GAMA's training JSON and CompA-R, CompA-R-test, Clotho-AQA.

Sources: the field lists of YuanGongND/ltu and Sreyan88/GAMA, the columns of clotho_aqa_train.csv,
clotho_aqa_val.csv and clotho_aqa_test.csv. The JSON files hold paths on the authors' disks; audio
is matched by path suffix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import caption, open_question
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.records import Corpus, Item, Record, grouped, record_id
from pal_plugin.corpora.tables import Row, file_name, listed, read_csv, read_rows
from pal_plugin.corpora.texts import checked_text, one_form
from pal_plugin.utils.errors import ConfigError


def read_openaqa(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Keys `instruction, input, audio_id, dataset, task, output`; GAMA's has no `input`.

    The question is the instruction, followed by the input on its own line if there is one.
    """
    rows, problems = [], []
    for path in files:
        for row in read_rows(path, ("instruction", "audio_id", "dataset", "task", "output")):
            with listed(problems, row):
                asked = [checked_text(row["instruction"], "instruction")]
                if row.get("input"):
                    asked.append(checked_text(row["input"], "input"))
                question = "\n".join(asked)
                audio, facts = file_name(row, "audio_id"), {"dataset": row["dataset"]}
                rows.append(Record(record_id(audio), audio, [_item(question, row)], facts))
    return Corpus(grouped(rows), None, problems)


def read_compar_test(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """CompA-R-test: several instructions per clip, judged given the caption and the events."""
    records, problems = [], []
    for path in files:
        for row in read_rows(path, ("audio_id", "instruction_output", "caption")):
            with listed(problems, row):
                facts = row.only("caption", "timestamp_events")
                pairs, items = row["instruction_output"], []
                if not isinstance(pairs, list):
                    raise ConfigError(f"expected a list as instruction_output, got {pairs!r:.80}")
                for number, pair in enumerate(pairs, 1):
                    with listed(problems, row, f"pair {number}"):
                        items.append(_pair(pair, facts))
                audio = file_name(row, "audio_id")
                if items:
                    more = row.only("dataset", "task")
                    records.append(Record(record_id(audio), audio, items, more))
    return Corpus(grouped(records), None, problems)


def read_clotho_aqa(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Columns `file_name, QuestionText, answer, confidence`; one row per annotator (three).

    The answer is the most frequent one. For yes/no questions only it is accepted, and a tie is
    reported as a problem; for single-word answers all are accepted. Each item's facts hold `given`
    and `confidence` per annotator, and `agreement` ("unanimous", "majority", "none").
    """
    questions: dict[tuple[str, str], list[Row]] = {}
    problems: list[str] = []
    for path in files:
        for row in read_csv(path, ("file_name", "QuestionText", "answer", "confidence")):
            with listed(problems, row):
                question = checked_text(row["QuestionText"], "QuestionText")
                checked_text(row["answer"], "answer")
                questions.setdefault((row["file_name"], question), []).append(row)
    records = []
    for (audio, question), rows in questions.items():
        with listed(problems, rows[0]):
            records.append(Record(record_id(audio), audio, [_voted(question, rows)]))
    return Corpus(grouped(records), None, problems)


def _pair(pair: Any, facts: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(pair, dict) or not {"instruction", "output"} <= pair.keys():
        raise ConfigError(f"expected instruction and output, got {pair!r:.80}")
    return open_question("reasoning", "compa_r", pair["instruction"], pair["output"], facts=facts)


def _item(question: str, row: dict[str, Any]) -> dict[str, Any]:
    facts = {"dataset": row["dataset"], "task": row["task"]}
    if "caption" in str(row["task"]).lower():
        return {**caption(question, [row["output"]]), "facts": facts}
    return open_question("qa", str(row["task"]), question, row["output"], facts=facts)


def _voted(question: str, rows: Sequence[Row]) -> Item:
    given = [one_form(row["answer"]).lower() for row in rows]
    counts = Counter(given).most_common()
    answer, votes = counts[0]
    tied = len(counts) > 1 and counts[1][1] == votes
    closed = set(given) <= {"yes", "no"}
    if closed and tied:
        raise ConfigError(f"annotators are tied between yes and no on {question!r}")
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
