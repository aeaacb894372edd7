"""OpenAQA (LTU), GAMA's training JSON and CompA-R, and CompA-R-test.

Sources: the field lists of YuanGongND/ltu and Sreyan88/GAMA. Paths in them are those of the
authors' disks; the audio is found by the ends of the paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import caption, checked_text, open_question
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.records import Corpus, Record, grouped, record_id
from pal_plugin.corpora.tables import file_name, listed, read_rows
from pal_plugin.utils.errors import ConfigError


def read_openaqa(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`instruction, input, audio_id, dataset, task, output`; GAMA's has no `input`.

    The question is the instruction, with the input on a line of its own where there is one.
    """
    rows, problems = [], []
    for path in files:
        for row in read_rows(path, ("instruction", "audio_id", "dataset", "task", "output")):
            with listed(problems, row):
                asked = [checked_text(row["instruction"], "instruction"), row.get("input")]
                question = "\n".join(str(part) for part in asked if part)
                audio, facts = file_name(row, "audio_id"), {"dataset": row["dataset"]}
                rows.append(Record(record_id(audio), audio, [_item(question, row)], facts))
    return Corpus(grouped(rows), None, problems)


def read_compar_test(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """CompA-R-test: several instructions a clip, judged with the caption and the events."""
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


def _pair(pair: Any, facts: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(pair, dict) or not {"instruction", "output"} <= pair.keys():
        raise ConfigError(f"expected instruction and output, got {pair!r:.80}")
    return open_question("reasoning", "compa_r", pair["instruction"], pair["output"], facts=facts)


def _item(question: str, row: dict[str, Any]) -> dict[str, Any]:
    facts = {"dataset": row["dataset"], "task": row["task"]}
    if "caption" in str(row["task"]).lower():
        return {**caption(question, [row["output"]]), "facts": facts}
    return open_question("qa", str(row["task"]), question, row["output"], facts=facts)
