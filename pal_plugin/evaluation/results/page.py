"""Runs as one HTML page: figures, curves, confusion matrices, cost, settings and answers.

The file is self-contained: pictures and sound are inside, nothing is requested, and it has no
script. Whatever comes from a run (labels, questions, answers, names) is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import soundfile

from pal_plugin.evaluation.example_clips import LONGEST_S, KeptClip, kept_clips, name_of
from pal_plugin.evaluation.examples import answer_of, choose, wrongness
from pal_plugin.evaluation.prediction_cache import row_key
from pal_plugin.evaluation.results.figures import Figure
from pal_plugin.evaluation.results.media import data_uri, spectrogram
from pal_plugin.evaluation.results.read import Run
from pal_plugin.evaluation.results.table import differing_settings

#: Sound and pictures beyond this are left out of the file, and the page says so.
LIMIT_BYTES = 8_000_000
#: Settings shown of a single run; all are in config.yaml, which the page quotes.
_SETTINGS = (
    *("run.name", "model.model_type", "model.checkpoint", "model.llm.path", "model.stage.llm"),
    *("run.init_lr", "run.batch_size_train", "run.max_epoch", "run.steps_per_epoch", "run.seed"),
    *("run.amp", "run.eval_limit"),
)

#: What a figure is, for the notes; those without a word here are shares, higher is better.
_ABOUT = {
    "accuracy_said": "of the label in the generated answer",
    "accuracy_ranked": "of the choice that is ranked first",
    "loss": "nats per token of the reference, lower is better",
    "perplexity": "exp of the loss, lower is better",
    "wer": "word error rate, lower is better",
    "unmatched": "share of answers that name no label or several, lower is better",
    "unparsed": "share of answers that name no choice, lower is better",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
media-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
_STYLE = """
:root{color-scheme:light dark;--text:#1d1f24;--soft:#5d636e;--page:#fff;--card:#f5f6f8;
--line:#d8dbe0;--edge:#b4b9c2;--good:#176c2d;--bad:#a32020;--bar:#7ea6e0}
@media(prefers-color-scheme:dark){:root{--text:#e6e8ec;--soft:#9aa1ad;--page:#15171b;
--card:#1f2228;--line:#383d46;--edge:#59606d;--good:#74cf8c;--bad:#f08a8a;--bar:#3d66a3}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;color:var(--text);background:var(--page);margin:0 auto;
padding:1rem;max-width:84rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.wide{overflow-x:auto}
/* Shadows at the edges of what can be scrolled; those at its ends are covered. */
.table{background:linear-gradient(90deg,var(--page) 40%,transparent) 0 0/2rem 100% no-repeat local,
linear-gradient(-90deg,var(--page) 40%,transparent) 100% 0/2rem 100% no-repeat local,
linear-gradient(90deg,var(--edge),transparent) 0 0/.7rem 100% no-repeat scroll,
linear-gradient(-90deg,var(--edge),transparent) 100% 0/.7rem 100% no-repeat scroll}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.25rem .7rem .25rem 0;
border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;white-space:nowrap}th.run{text-align:right}
td.start,th.start{padding-left:1.5rem}.facts td+td{overflow-wrap:anywhere}
th,.soft{color:var(--soft);font-weight:500}.soft{font-size:.88em}
figure{margin:0 0 1rem}figure img{background:#fff;border-radius:6px;display:block}
.plot{min-width:44rem;width:100%;max-width:70rem}.matrix{width:32rem;max-width:100%}
.pictures{display:flex;flex-wrap:wrap;gap:0 1rem}.pictures figure{max-width:100%}
.pictures .of-matrix{width:32rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1rem}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem;
overflow-wrap:anywhere}
article p{margin:.35rem 0}article h3{font-size:1rem;margin:.2rem 0 .5rem}
audio{width:100%;height:2.2rem;margin:.3rem 0}
.sound{width:100%;height:6rem;image-rendering:auto;border-radius:4px;display:block}
.axis{display:flex;justify-content:space-between}
.good{color:var(--good)}.bad{color:var(--bad)}
.labels{list-style:none;margin:.3rem 0;padding:0}
.labels li{display:flex;justify-content:space-between;gap:.5rem;padding:0 .3rem;margin:2px 0;
border-radius:3px}
pre{overflow-x:auto;background:var(--card);padding:.8rem;border-radius:8px;font-size:.85em}
@media(max-width:40rem){body{padding:.7rem}table{font-size:.8rem}
th,td{padding-right:.4rem}td.start,th.start{padding-left:.7rem}}
"""


def html(
    runs: Sequence[Run],
    figures: Sequence[Figure],
    costs: Mapping[str, Mapping[str, str]],
    *,
    worst: bool = False,
) -> str:
    """The page of one run, or of several side by side.

    Args:
        runs: from `read_runs`.
        figures: of all of them.
        costs: by the run's name, what it cost: a text by name.
        worst: show the most wrong answers of the first run, instead of right and wrong ones.
    """
    media = _Media()
    parts = [
        *_section("Results", _results(runs, figures), _notes(runs, figures)),
        *_section("Curves", media.pictures(runs, "curves.png", "plot")),
        *_section("Confusion", media.pictures(runs, "result/*.confusion*.png", "matrix")),
        *_section("Cost", _by_run(runs, {run.name: costs.get(run.name, {}) for run in runs})),
        *_section("Answers", _answers(runs, media, worst)),
        *_section("Settings", *_settings(runs)),
    ]
    if media.left_out:
        parts.insert(0, f"<p>{media.left_out} pictures or clips were left out: with them, this "
                     f"file would exceed {LIMIT_BYTES / 1e6:.0f} MB.</p>")  # fmt: skip
    parts[:0] = _about(runs)
    title = ", ".join(run.name for run in runs)
    return _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(parts))


class _Media:
    """Pictures and sound, as long as the file stays within its limit."""

    def __init__(self) -> None:
        self.left, self.left_out = LIMIT_BYTES, 0

    def uri(self, data: bytes, kind: str) -> str | None:
        uri = data_uri(data, kind)
        if len(uri) > self.left:
            self.left_out += 1
            return None
        self.left -= len(uri)
        return uri

    def pictures(self, runs: Sequence[Run], pattern: str, style: str) -> str:
        """The pictures of runs that match a pattern."""
        found = []
        for run in runs:
            for path in sorted(run.folder.glob(pattern)):
                name = _described(path.stem)
                name = name if len(runs) == 1 else f"{run.name}: {name}"
                if uri := self.uri(path.read_bytes(), "image/png"):
                    image = f'<img class="{style}" src="{uri}" alt="{escape(name)}">'
                    caption = f'<figcaption class="soft">{escape(name)}</figcaption>'
                    found.append(f'<figure class="wide of-{style}">{image}{caption}</figure>')
        return f'<div class="pictures">{"".join(found)}</div>' if found else ""

    def clip(self, clip: KeptClip, name: str) -> str:
        """A player and a spectrogram of the clip of that name."""
        if not clip.path.is_file() or not (sound := self.uri(clip.path.read_bytes(), "audio/ogg")):
            return '<p class="soft">no audio</p>'
        samples, rate_hz = soundfile.read(clip.path, dtype="float32")
        shown = f"{clip.seconds:.1f} s"
        if clip.seconds > LONGEST_S:
            shown = f"the first {LONGEST_S:.0f} of {shown}"
        picture = spectrogram(samples, rate_hz)
        image = picture and self.uri(picture, "image/png")
        seen = ""
        if image:
            high = f"{rate_hz / 2000:g} kHz"
            seen = (
                f'<img class="sound" src="{image}" alt="log-mel spectrogram, {shown}, 0 to {high}">'
                f'<div class="axis soft"><span>0 s</span><span>0 to {high}, mel</span>'
                f"<span>{shown}</span></div>"
            )
        label = escape(f"clip {name}, {shown}")
        return f'<audio controls preload="none" aria-label="{label}" src="{sound}"></audio>{seen}'


def _section(title: str, *parts: str) -> list[str]:
    filled = [part for part in parts if part]
    return [f"<h2>{escape(title)}</h2>", *filled] if filled else []


def _about(runs: Sequence[Run]) -> list[str]:
    """What each run was, in a line."""
    lines = []
    for run in runs:
        known = {
            "recipe": run.settings.get("run.name"),
            "model type": run.settings.get("model.model_type"),
            "LLM": run.settings.get("model.llm.path"),
        }
        told = ", ".join(f"{name} {value}" for name, value in known.items() if value)
        if told:
            line = told if len(runs) == 1 else f"{run.name}: {told}"
            lines.append(f'<p class="soft">{escape(line)}</p>')
    return lines


def _described(stem: str) -> str:
    """The caption of a picture of that file name."""
    if stem == "curves":
        return "training loss (left), and figures of the evaluations (right), by training step"
    entry, _, kind = stem.partition(".confusion")
    entry, _, task = entry.partition(".")
    masked = ", with the audio masked" if kind else ""
    return f"{entry}, {task}{masked}: clips by right label (rows) and given label (columns)"


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: int,
    above: str = "",
    starts: Sequence[int] = (),
    style: str = "",
) -> str:
    """A table of texts; columns from `numbers` on are aligned right, `starts` begin a group."""

    def cells(row: Sequence[str], kind: str) -> str:
        kinds = [
            "n start" if at in starts else "n" if at >= numbers else "" for at in range(len(row))
        ]
        marks = [f' class="{kind}"' if kind else "" for kind in kinds]
        return "".join(
            f"<{kind}{mark}>{escape(text)}</{kind}>" for mark, text in zip(marks, row, strict=True)
        )

    lines = [f"<tr>{cells(head, 'th')}</tr>", *(f"<tr>{cells(row, 'td')}</tr>" for row in rows)]
    return f'<div class="wide table"><table class="{style}">{above}{"".join(lines)}</table></div>'


def _results(runs: Sequence[Run], figures: Sequence[Figure]) -> str:
    if not figures:  # of a training that evaluates nothing
        return ""
    by_name: dict[tuple[str, str, str], dict[str, Figure]] = {}
    for figure in figures:
        by_name.setdefault((figure.split, figure.entry, figure.name), {})[figure.run] = figure
    splits = {split for split, _, _ in by_name}
    named = ["split", "task", "figure"][len(splits) == 1 :]
    rows = []
    for name, of_runs in by_name.items():
        row = list(name[-len(named) :])
        for run in runs:
            found = of_runs.get(run.name)
            interval = found and found.interval
            limits = f"{interval.low:.3f} to {interval.high:.3f}" if interval else "-"
            row += [_number(found and found.value), _number(found and found.masked), limits]
        first = next(iter(of_runs.values()))
        rows.append([*row, _number(first.chance), str(first.n)])
    above, starts = "", []
    if len(runs) > 1:
        names = "".join(f'<th class="run" colspan="3">{escape(run.name)}</th>' for run in runs)
        starts = [len(named) + 3 * at for at in range(len(runs) + 1)]
        above = f'<tr><th colspan="{len(named)}"></th>{names}<th colspan="2"></th></tr>'
    head = [*named, *["value", "masked", "95 %"] * len(runs), "chance", "n"]
    return _table(head, rows, len(named), above, starts)


def _notes(runs: Sequence[Run], figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    notes = [
        "Masked: the same model, with the audio masked out. 95 %: interval of the value, by "
        "bootstrap over clips. Chance: of a guess. n: answers."
    ]
    named = dict.fromkeys(figure.name for figure in figures)
    told = [f"{name}: {_ABOUT[name]}" for name in named if name in _ABOUT]
    notes += ["; ".join(told) + "."] if told else []
    for run in runs:
        notes += [f"{run.name}: {note}." for note in run.notes]
        notes += [f"{run.name}: not computed: {n}: {why}." for n, why in run.missing.items()]
    return "".join(f'<p class="soft">{escape(note)}</p>' for note in notes)


def _by_run(runs: Sequence[Run], facts: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with a line per fact and a column per run; empty without facts."""
    names = dict.fromkeys(name for run in runs for name in facts[run.name])
    rows = [[name, *(_shown(facts[run.name].get(name)) for run in runs)] for name in names]
    head = ["", *(run.name if len(runs) > 1 else "" for run in runs)]
    return _table(head, rows, 1 + len(runs), style="facts") if rows else ""


def _settings(runs: Sequence[Run]) -> list[str]:
    if len(runs) > 1:
        differing = differing_settings(runs)
        facts = {
            run.name: {name: values[n] for name, values in differing.items()}
            for n, run in enumerate(runs)
        }
        return [_by_run(runs, facts) or "<p>The runs have the same settings.</p>"]
    (run,) = runs
    chosen = {name: run.settings[name] for name in _SETTINGS if name in run.settings}
    path = run.folder / "config.yaml"
    whole = ""
    if path.is_file():
        text = escape(path.read_text("utf-8"))
        whole = f"<details><summary>config.yaml</summary><pre>{text}</pre></details>"
    return [_by_run(runs, {run.name: chosen}), whole]


def _answers(runs: Sequence[Run], media: _Media, worst: bool) -> str:
    first, *others = runs
    rows = {
        run.name: {(split, row_key(row)): row for split, of in run.rows.items() for row in of}
        for run in others
    }
    clips = [kept_clips(run.folder / "result") for run in runs]
    cards = []
    for split, row in choose(first.rows, worst=worst):
        name = name_of(split, row)
        kept = next((of_run[name] for of_run in clips if name in of_run), [])
        parts = [
            f'<p class="soft">{escape(" · ".join(_origin(split, row)))}</p>',
            f"<h3>{escape(str(row['question']))}</h3>",
            *(media.clip(clip, str(row["sample_id"])) for clip in kept),
            f"<p>expected: {escape(_expected(row))}</p>",
        ]
        for run in runs:
            of_run = row if run is first else rows[run.name].get((split, row_key(row)))
            parts.append(_said(of_run, run.name if others else ""))
        cards.append(f"<article>{''.join(parts)}</article>")
    if not cards:
        return ""
    how = "the most wrong of each task" if worst else "right and wrong ones of each task in turns"
    about = f"{len(cards)} answers: {how}."
    if any("ranked" in row for rows in first.rows.values() for row in rows):
        about += " Labels: in the order of their likelihood per token, which decides, with their "
        about += "shares in the likelihood of all labels."
    if worst and others:
        about += f" Chosen by the first run, {first.name}."
    if not any(clips):
        about += " This run kept no clips to hear."
    return f'<p class="soft">{escape(about)}</p><div class="cards">{"".join(cards)}</div>'


def _origin(split: str, row: Mapping[str, Any]) -> list[str]:
    named = [split, row.get("dataset"), row["task"], row.get("question_type"), row.get("sample_id")]
    return [str(part) for part in dict.fromkeys(named) if part]


def _expected(row: Mapping[str, Any]) -> str:
    answers = [str(row["reference"]), *map(str, row.get("answers") or [])]
    return " | ".join(dict.fromkeys(answers))


def _said(row: dict | None, run: str) -> str:
    """An answer, its labels, and the masked answer."""
    name = f"{run}: " if run else "said: "
    if row is None:
        return f"<p>{escape(name)}not asked</p>"
    wrong = wrongness(row)
    known = wrong is not None and row["task"] not in ("caption", "transcript")
    style, mark = ("", "") if not known else (("good", "✓ "), ("bad", "✗ "))[wrong > 0]
    if row["task"] == "transcript" and wrong is not None:
        mark = f"word error rate {wrong:.2f}: "
    parts = [f'<p class="{style}">{mark}{escape(name)}<b>{escape(str(answer_of(row)))}</b></p>']
    if row.get("said") is not None and row["said"] != row["prediction"]:
        parts.append(f"<p>ranked first: {escape(str(row['prediction']))}</p>")
    if row.get("ranked"):
        parts.append(f'<ul class="labels">{"".join(_bar(*pair) for pair in row["ranked"])}</ul>')
    masked = answer_of(row, "_masked")
    if masked is not None:
        parts.append(f'<p class="soft">with the audio masked: {escape(str(masked))}</p>')
    return "".join(parts)


def _bar(label: str, share: float) -> str:
    end = f"{100 * float(share):.1f}%"
    fill = f"background:linear-gradient(90deg,var(--bar) {end},transparent {end})"
    return f'<li style="{fill}"><span>{escape(str(label))}</span><span>{share:.3f}</span></li>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
