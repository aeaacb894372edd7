"""Answers of an evaluation as an HTML page: question, reference, prediction.

A single file without scripts, so that it opens anywhere and can be mailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pal_plugin.utils.files import replace_text

#: Rows shown of each task: enough to read, and a page that opens at once.
PER_TASK = 40

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#222;max-width:75rem}
table{border-collapse:collapse;width:100%;margin-bottom:2.5rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ddd}
th{border-bottom:2px solid #888}td.clip{font-family:monospace;font-size:.85em;word-break:break-all}
.right{color:#17692b}.wrong{color:#a02020}.masked{color:#777}
"""


def write_page(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Write the first rows of each task and question type; the file is replaced atomically."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        if isinstance(row, dict) and "question" in row:
            kind = row.get("question_type") or row.get("task", "")
            name = row.get("task", "") if kind == row.get("task") else f"{row.get('task')}: {kind}"
            groups.setdefault(name, []).append(row)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>",
    ]
    for name, members in groups.items():
        answered = [row for row in members if row.get("prediction") is not None]
        shown = answered[:PER_TASK]
        parts.append(f"<h2>{escape(name)}</h2><p>{len(shown)} of {len(members)} rows</p>")
        parts.append(
            "<table><tr><th>clip<th>question<th>expected<th>answer<th>without the audio</tr>"
        )
        parts += [_row(row) for row in shown]
        parts.append("</table>")
    replace_text(path, "\n".join(parts) + "</html>\n")


def _row(row: dict[str, Any]) -> str:
    answers = [str(a) for a in row.get("answers") or [row.get("reference", "")]]
    said = str(row["prediction"])
    right = said.strip().lower() in {a.strip().lower() for a in answers}
    judged = "right" if right else "wrong" if row.get("task") == "classification" else ""
    masked = row.get("prediction_masked")
    cells = (
        ("clip", row.get("sample_id", "")),
        ("", row["question"]),
        ("", " | ".join(answers)),
        (judged, said),
        ("masked", "" if masked is None else masked),
    )
    return "<tr>" + "".join(f'<td class="{c}">{escape(str(t))}</td>' for c, t in cells) + "</tr>"
