"""docs/results.md from what there is; what a person wrote between the marks stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence import tables, words
from evidence.answers import RANKED, SAID, WER, Answers
from evidence.baselines import SCRIPTS, Baselines
from evidence.costs import ANSWER, STEP
from evidence.planned import Planned
from evidence.tables import LABELS, Runs
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.tables import markdown_table

BEGIN, END = "<!-- by hand: begin -->", "<!-- by hand: end -->"
_TO_TELL = "<!-- to tell here: trials of settings by type, and on which clips they were judged -->"
_EMPTY = f"{BEGIN}\n{_TO_TELL}\n{END}"
_HEAD = """\
# Results on a real LLM

PLITS, LAL, PAL, both routes at once and Flamingo, on SmolLM2-135M with Whisper tiny.en. Data,
encoder, connectors, steps and questions are the same for all, which is checked; only
`model.routing` differs. All start from the same speech connector, that of `small/align`.

`projects/pal/small/results.py write` writes this page from the runs' files, except what stands
between the two marks; [projects/pal/small/README.md](../projects/pal/small/README.md) has the
commands."""
_READING = """\
A cell is the mean over seeds ± their standard deviation (where there are several), with a 95 %
bootstrap interval over recordings (clips cut from the same one count together) and the answers of
all seeds; it covers these trained models, not other seeds. `all` pools the clips. Chance: always
the most frequent answer of each group. With the audio masked, the model gets the question alone."""


def page(
    runs: Runs,
    planned: Sequence[Planned],
    *,
    baselines: Baselines,
    costs: Mapping[str, Any] | None,
    by_hand: str,
    picture: str | None,
    draws: int,
) -> str:
    """The whole page.

    Args:
        runs: finished ones by type.
        planned: all that are wanted.
        costs: of `costs.report`; None: not counted yet.
        by_hand: of `kept`.
        picture: its path from the page; None: there is none.
        draws: of each bootstrap.
    """
    found = tables.differences(runs, draws)
    parts = [_HEAD, _state(runs, planned)]
    if runs:
        parts += [_settings(next(iter(runs.values()))[0]), _READING]
        for title, figure in (
            ("## Labels ranked by likelihood, accuracy in percent", RANKED),
            ("## Said answers, accuracy in percent", SAID),
            ("## Transcripts, word error rate", WER),
        ):
            table = tables.of_figure(runs, figure, draws)
            parts += [title, table] if table else []
        against = tables.of_differences(found)
        parts += ["## Against PLITS", _AGAINST, against] if against else []
        parts += ["## What this says about the papers", words.statements(found)]
    parts.append(by_hand)
    parts += ["## Baselines on the same clips", _baselines(runs, baselines)]
    parts += ["## Cost", _costs(costs)]
    if picture:
        parts += ["## Loss over steps", f"![Training loss over steps by type]({picture})"]
    return "\n\n".join(part for part in parts if part) + "\n"


_AGAINST = """\
All clips of a task pooled, paired by clip and seed, with a 95 % bootstrap interval over
recordings: accuracies in points, where more is better, and word error rates (WER), where less is.
Below, better or worse means that the interval is on one side of 0, and so is each seed alone."""


def kept(path: Path) -> str:
    """What stands between the marks of an earlier page, marks included.

    Raises:
        ConfigError: one mark without the other, or one twice.
    """
    text = path.read_text("utf-8") if path.is_file() else _EMPTY
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ConfigError(
            f"{path}: expected {BEGIN!r} and then {END!r}, once each, around what a person wrote"
        )
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def _state(runs: Runs, planned: Sequence[Planned]) -> str:
    done = sum(len(of_kind) for of_kind in runs.values())
    missing = [run.folder.name for run in planned if not run.done]
    told = f"{done} trainings are in the tables"
    if runs:
        seeds = "; ".join(
            f"{LABELS[kind]} {', '.join(str(run.seed) for run in of_kind)}"
            for kind, of_kind in runs.items()
        )
        told += f" (seeds: {seeds})"
    return words.wrapped(f"{told}. Still missing: {', '.join(missing) or 'none'}.")


def _settings(run: Answers) -> str:
    settings = run.experiment
    steps = int(settings["run.max_epoch"]) * int(settings["run.steps_per_epoch"])
    start = "run.train_dataset_ratios."
    shares = {name.removeprefix(start): v for name, v in settings.items() if name.startswith(start)}
    mixed = ", ".join(f"{name} {weight:g}" for name, weight in shares.items())
    clips = len({(row.get("dataset"), row["sample_id"]) for row in run.rows})
    batches = f", batches of {mixed}" if mixed else ""
    return words.wrapped(
        f"Each training: {steps} steps of {settings['run.batch_size_train']} clips{batches}, rate "
        f"{settings['run.init_lr']:g}; one evaluation at its end, {len(run.rows)} questions about "
        f"{clips} clips, each with and without the audio."
    )


def _baselines(runs: Runs, baselines: Baselines) -> str:
    parts = [tables.of_baselines(runs, baselines)]
    if parts[0]:
        parts[0] += "\n\nAccuracy in percent, intervals over recordings as above."
    if baselines.wer is not None:
        rate, count = baselines.wer
        parts.append(f"Whisper's own transcripts of {count} clips: word error rate {rate:.3f}.")
    if baselines.missing:
        named = ", ".join(f"`{name}.json` of `{SCRIPTS[name]}`" for name in baselines.missing)
        parts.append(words.wrapped(f"Still missing: {named}."))
    return "\n\n".join(filter(None, parts))


def _costs(costs: Mapping[str, Any] | None) -> str:
    if costs is None:
        return "Not counted yet: `python projects/pal/small/results.py time`."
    work, types = costs["workload"], costs["types"]
    head = ["", "audio tokens", "trained", "GFLOP of a step", "of an answer"]
    head += ["time of a step", "of an answer"]
    rows = []
    for kind in [kind for kind in LABELS if kind in types]:
        of_kind = types[kind]
        times = of_kind.get("times", {})
        rows.append(
            [
                LABELS[kind],
                str(of_kind["audio_tokens"]),
                f"{of_kind['trainable'] / 1e6:.2f} M",
                f"{of_kind['step_flops'] / 1e9:,.0f}",
                f"{of_kind['answer_flops'] / 1e9:,.1f}",
                *(_ratio(times.get(what)) for what in (STEP, ANSWER)),
            ]
        )
    told = (
        f"A step is forward and backward of {work['clips']} clips of {work['clip_s']:g} s with "
        f"{work['text']} tokens of text, {work['answer']} of them the answer; the frozen encoder's "
        "states are cached and not counted. An answer is one clip, encoder included, and "
        f"{work['answer']} generated tokens. Matrix products, two FLOPs per multiply-add."
    )
    if costs["rounds"]:
        told += (
            f" Times are ratios to PLITS, side by side in one process in {costs['rounds']} rounds: "
            "the median with the quartiles."
        )
    return f"{markdown_table([head, *rows], 'lr')}\n\n{words.wrapped(told)}"


def _ratio(quantiles: Sequence[float] | None) -> str:
    if quantiles is None:
        return "-"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*quantiles)
