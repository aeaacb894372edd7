"""OpenAQA (LTU), GAMA's training JSON and CompA-R, and CompA-R-test.

Sources: the field lists of YuanGongND/ltu and Sreyan88/GAMA. Paths in them are those of the
authors' disks; the audio is found by the ends of the paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import caption, open_question
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.records import Corpus, Record, grouped, record_id
from pal_plugin.corpora.tables import read_rows


def read_openaqa(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`instruction, input, audio_id, dataset, task, output`; GAMA's has no `input`.

    The question is the instruction, with the input on a line of its own where there is one.
    """
    rows = []
    for path in files:
        for row in read_rows(path, ("instruction", "audio_id", "dataset", "task", "output")):
            question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
            rows.append(
                Record(
                    record_id(row["audio_id"]),
                    row["audio_id"],
                    [_item(question, row)],
                    {"dataset": row["dataset"]},
                )
            )
    return Corpus(grouped(rows))


def read_compar_test(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """CompA-R-test: several instructions a clip, judged with the caption and the events."""
    records = []
    for path in files:
        for row in read_rows(path, ("audio_id", "instruction_output", "caption")):
            facts = {k: row[k] for k in ("caption", "timestamp_events") if k in row}
            items = [
                open_question(
                    "reasoning", "compa_r", pair["instruction"], pair["output"], facts=facts
                )
                for pair in row["instruction_output"]
            ]
            more = {k: row[k] for k in ("dataset", "task") if k in row}
            records.append(Record(record_id(row["audio_id"]), row["audio_id"], items, more))
    return Corpus(grouped(records))


def _item(question: str, row: dict[str, Any]) -> dict[str, Any]:
    facts = {"dataset": row["dataset"], "task": row["task"]}
    if "caption" in str(row["task"]).lower():
        return {**caption(question, [row["output"]]), "facts": facts}
    return open_question("qa", str(row["task"]), question, row["output"], facts=facts)
