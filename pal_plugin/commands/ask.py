"""`pal ask`: ask a model about clips, once, a list of questions, or in a conversation."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pal_plugin.commands.ask_input import (
    STDIN,
    AskError,
    Heard,
    checked_question,
    read_clips,
    read_questions,
    split,
    split_labels,
)
from pal_plugin.commands.ask_output import bars, noted, ranking
from pal_plugin.config.ranges import SEED, kind_of

if TYPE_CHECKING:
    from pal_plugin.models.answering import Answering

#: Options may stand between clips and question.
INTERMIXED = True
#: Of a `Completion`, in the JSON of `--jsonl`.
_COUNTED = ("finish_reason", "prompt_tokens", "audio_tokens", "completion_tokens")
#: Clips of more seconds than this together are announced, since encoding them takes a while.
_LONG_S = 60

HELP = """\
examples:
  pal ask dog "What do you hear?"                # a clip that comes with the package
  pal ask a.wav b.flac "Which of the two is louder?"
  pal ask dog "What do you hear?" --labels dog,rooster,rain --masked
  pal ask a.wav "What is said?" --model output/RUN   # or latest:lal_stage1, a folder, owner/name
  pal ask a.wav --questions questions.txt --jsonl > answers.jsonl
  arecord -d 5 -f cd - | pal ask - "What do you hear?"
  pal ask --chat a.wav                           # then ask; /help lists the commands

The last argument is the question, unless it is a clip: an existing file, - (standard input),
clip:NAME, or the name of a clip that comes with the package (which a file of that name replaces).
All arguments before it are clips; the model hears them in this order, in front of the question.

Answers are on stdout, everything else on stderr. With --labels, labels are ranked exactly by their
likelihood as the answer, and nothing is generated. --masked shows how much depends on the audio.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """What Ctrl-C leaves; arguments as in `train.resume`."""
    return "nothing is kept between calls"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal ask`."""
    parser.add_argument("words", nargs="*", metavar="CLIP... QUESTION", help="see below")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a type (lal, small), a run folder, latest:RECIPE, a saved folder, or owner/name of "
        "the hub (default: small if its weights are here, else lal)",
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--chat", action="store_true", help="a conversation; /help in it")
    kinds.add_argument(
        "--questions",
        metavar="FILE",
        help="a question per line, each asked anew about the clips; - is standard input",
    )
    parser.add_argument("--labels", metavar="A,B,C", help="rank these labels as the answer")
    parser.add_argument(
        "--masked", action="store_true", help="the same again with the audio masked"
    )
    parser.add_argument(
        "--jsonl", action="store_true", help="print a JSON object per question, with token counts"
    )
    tokens = kind_of("run.max_new_tokens")
    about = "limit of an answer (default: 48)"
    parser.add_argument("--max-new-tokens", type=tokens.argument, default=48, help=about)
    about = "sample with this temperature (default: the most probable token)"
    temperature = kind_of("run.generation.temperature")
    parser.add_argument("--temperature", type=temperature.argument, metavar="T", help=about)
    parser.add_argument("--seed", type=SEED.argument, default=0, help="of sampling (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Ask. Returns the exit code.

    Raises:
        UserError: arguments, clips or a model that cannot be used.
    """
    words, question, questions = _asked(args)
    labels = None if args.labels is None else split_labels(args.labels)
    clips = read_clips(words)
    from pal_plugin.models.opening import find_model

    found = find_model(args.model)
    noted(f"loading {found.description}")
    begun = time.perf_counter()
    from transformers.utils.logging import disable_progress_bar

    from pal_plugin.models.answering import Answering

    disable_progress_bar()
    model = found.open()
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    seconds = time.perf_counter() - begun
    noted(f"loaded in {seconds:.1f} s: {size:.0f} M parameters, on {model.device}")
    settings: dict[str, Any] = {"max_new_tokens": args.max_new_tokens}
    if args.temperature is not None:
        settings |= {"do_sample": True, "temperature": args.temperature}
    answering = Answering(model, **settings, seed=args.seed)
    seconds = sum(heard.seconds for heard in set(clips))
    if seconds > _LONG_S:
        noted(f"encoding {seconds:.0f} s of audio first")
    if args.chat:
        _chat(answering, settings, clips, question, args)
        return 0
    for one in questions:
        try:
            facts = _answer(answering, clips, one, labels, args)
        except ValueError as error:  # what only the model can tell, such as its context
            raise AskError(str(error)) from error
        if args.jsonl:
            print(json.dumps({**facts, "model": found.name}, ensure_ascii=False), flush=True)
    return 0


def _asked(args: argparse.Namespace) -> tuple[list[str], str | None, list[str]]:
    """The clips' words, the first question of a chat, and all questions otherwise."""
    words, question = (list(args.words), None) if args.questions else split(args.words)
    if args.chat and (args.labels is not None or args.masked):
        raise AskError("--chat: ask for labels and masked audio by /labels and /masked in it")
    if sum((STDIN in words, args.chat, args.questions == STDIN)) > 1:
        raise AskError("standard input can be one thing: a clip (-), the questions, or the chat")
    if args.chat:
        return words, None if question is None else checked_question(question), []
    if not args.words:
        raise AskError('nothing to ask; for example: pal ask dog "What do you hear?"')
    questions = read_questions(args.questions) if args.questions else [checked_question(question)]
    if not words:
        raise AskError(
            f"no clip; expected: pal ask CLIP... {question!r}. Without audio: pal ask --chat"
        )
    return words, question, questions


def _answer(
    answering: Answering,
    clips: list[Heard],
    question: str,
    labels: list[str] | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Answer one question, and print it unless `--jsonl`; returns its facts."""
    parts = [{"type": "audio", "audio": heard.audio} for heard in clips]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
    facts = {"question": question, "clips": [heard.name for heard in clips]}
    if args.questions and not args.jsonl:
        print(f"> {question}")
    begun = time.perf_counter()
    if labels is not None:
        masked = answering.rank(messages, labels, masked=True) if args.masked else None
        rows = ranking(labels, answering.rank(messages, labels), masked)
        facts |= {"answer": rows[0]["label"], "labels": rows}
        if not args.jsonl:
            print(bars(rows), flush=True)
    else:
        said = answering.answer(messages, write=_nothing if args.jsonl else _print)
        facts |= {"answer": said.text, **{name: getattr(said, name) for name in _COUNTED}}
        if not args.jsonl:
            print(flush=True)
        if said.finish_reason == "length":
            noted(f"(cut at --max-new-tokens {args.max_new_tokens})")
        if args.masked:
            facts["answer_masked"] = answering.answer(messages, masked=True).text
            if not args.jsonl:
                print(f"with the audio masked: {facts['answer_masked']}", flush=True)
    return {**facts, "seconds": round(time.perf_counter() - begun, 3)}


def _chat(
    answering: Answering,
    settings: dict[str, Any],
    clips: list[Heard],
    question: str | None,
    args: argparse.Namespace,
) -> None:
    import torch

    from pal_plugin.commands.ask_chat import Chat, lines_of

    torch.manual_seed(args.seed)
    chat = Chat(answering, settings, jsonl=args.jsonl)
    for heard in clips:
        chat.add(heard)
    first = [] if question is None else [question]
    chat.run(itertools.chain(first, lines_of(sys.stdin)))


def _print(piece: str) -> None:
    print(piece, end="", flush=True)


def _nothing(piece: str) -> None:
    pass
