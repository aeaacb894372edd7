"""Labels ranked by their likelihood as the answer, as bars: with the audio and without."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pal_plugin.hosts.page.talk import Messages
from pal_plugin.serving.engine import Engine

NOTE = (
    "Each label is scored as an answer to the last question; the probabilities of the labels add "
    "up to 1. With the audio masked, the bars show what the model expects of any clip."
)


def ranked(engine: Engine, messages: Messages, labels: Sequence[str]) -> str:
    """The labels' probabilities as HTML, likeliest first.

    Raises:
        ValueError: as `Engine.rank`.
    """
    heard, masked = (
        engine.rank(messages, labels, mute=mute)["probabilities"][0].tolist()
        for mute in (False, True)
    )
    return bars(labels, heard, masked)


def bars(labels: Sequence[str], heard: Sequence[float], masked: Sequence[float]) -> str:
    """Rows of a table, one a label: its name and its two probabilities."""
    rows = sorted(zip(heard, masked, labels, strict=True), key=lambda row: -row[0])
    cells = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        f"<td>{_bar(of_heard, 'pal-bar')}{_bar(of_masked, 'pal-bar pal-masked')}</td></tr>"
        for of_heard, of_masked, label in rows
    )
    return (
        '<table class="pal-bars"><thead><tr><th scope="col">Label</th><th scope="col">'
        '<span class="pal-key"></span>Probability '
        '<span class="pal-key pal-masked"></span>audio masked</th></tr></thead>'
        f'<tbody>{cells}</tbody></table><p class="pal-note">{escape(NOTE)}</p>'
    )


def _bar(share: float, kind: str) -> str:
    return (
        f'<div class="{kind}"><span class="pal-track"><span style="width:{share:.2%}"></span>'
        f"</span><b>{share:.2f}</b></div>"
    )
