"""A conversation as HTML: each question, its answer, and the answer with the audio masked."""

from __future__ import annotations

from html import escape

from pal_plugin.hosts.page.talk import Talk, Turn

NOTHING_YET = (
    "Choose a clip and ask. Beside each answer stands the one to the same question with the audio "
    "masked out of the attention: where the two are equal, the model did not need to listen. A "
    "follow-up question needs no clip; another clip joins with the question that comes after it."
)


def transcript(talk: Talk, waiting: bool = False) -> str:
    """The turns so far.

    Args:
        waiting: whether the last answers are still coming.
    """
    if not talk.turns:
        return f'<p class="pal-note">{escape(NOTHING_YET)}</p>'
    first, parts = 1, []
    for turn in talk.turns:
        last = turn is talk.turns[-1]
        parts.append(_turn(turn, first, waiting and last))
        first += len(turn.clips)
    return f'<ol class="pal-turns">{"".join(parts)}</ol>'


def _turn(turn: Turn, first: int, waiting: bool) -> str:
    clips = "".join(
        f'<span class="pal-clip">Clip {number}: {escape(clip.name)}, {clip.seconds:.1f} s</span>'
        for number, clip in enumerate(turn.clips, first)
    )
    problem = f'<p class="pal-problem" role="alert">{escape(turn.problem)}</p>'
    return (
        f'<li><div class="pal-question">{clips}{escape(turn.question)}</div>'
        f'<div class="pal-answers" aria-busy="{str(waiting).lower()}">'
        f"{answer('Answer', turn.heard, waiting)}"
        f"{answer('Audio masked', turn.masked, waiting, 'pal-masked')}</div>"
        f"{problem if turn.problem else ''}</li>"
    )


def answer(name: str, text: str, waiting: bool = False, kind: str = "") -> str:
    """One answer under its name.

    Args:
        waiting: whether more of it may come.
        kind: a class of the style sheet.
    """
    said = (
        escape(text) if text else ('<span class="pal-none">no text</span>' if not waiting else "")
    )
    cursor = '<span class="pal-cursor" aria-hidden="true"></span>' if waiting else ""
    return (
        f'<div class="pal-answer {kind}"><p class="pal-name">{escape(name)}</p>'
        f"<p>{said}{cursor}</p></div>"
    )
