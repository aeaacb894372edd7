"""The conversation of `pal ask --chat`: questions and /commands, from a terminal or a pipe."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from transformers import TextStreamer

from pal_plugin.commands.ask_input import AskError, Heard, read_clip, split_labels
from pal_plugin.commands.ask_output import bars, noted, ranking
from pal_plugin.models.answering import Answering
from pal_plugin.models.chat import Conversation
from pal_plugin.utils.spelling import did_you_mean
from pal_plugin.utils.tables import text_table

#: By name: the argument, and what it does.
COMMANDS = {
    "/clip": ("PATH", "add a clip (a file, or a shipped one by name) to the next question"),
    "/labels": ("A,B,C", "rank these labels as answers to the last question"),
    "/masked": ("", "answer the last question again with all audio masked"),
    "/new": ("", "forget the conversation"),
    "/help": ("", "show this"),
    "/quit": ("", "leave, as Ctrl-D"),
}


class Chat:
    """A conversation with one model; the model stays loaded and what was read stays cached.

    Args:
        answering: of the model, for what is outside the conversation (`/labels`, `/masked`).
        generation: arguments of `Conversation.ask`.
        jsonl: print a JSON object per answer; False: the text while it is generated.
    """

    def __init__(self, answering: Answering, generation: dict[str, Any], *, jsonl: bool) -> None:
        self.answering, self.generation, self.jsonl = answering, generation, jsonl
        self.next: list[Heard] = []
        self.question = ""
        self.talk = Conversation(answering.model)

    def run(self, lines: Iterator[str]) -> None:
        """Answer until the lines end, or one is `/quit`."""
        for line in lines:
            line = line.strip()
            if line == "/quit":
                return
            if not line:
                continue
            try:
                self._command(line) if line.startswith("/") else self.ask(line)
            except ValueError as error:  # of the line, clips and context; the chat goes on
                noted(f"error: {error}")
            except KeyboardInterrupt:
                noted("\nstopped; this question is forgotten. /quit or Ctrl-D leaves")

    def ask(self, question: str) -> None:
        """Answer a question, heard with the clips that were added since the last one."""
        clips = [heard.audio for heard in self.next]
        streamer = None if self.jsonl else _Printed(self.answering.model.text.tokenizer)
        said = self.talk.ask(question, audio=clips, **self.generation, streamer=streamer)
        names, self.next, self.question = [heard.name for heard in self.next], [], question
        self._print({"clips": names, "answer": said})

    def add(self, heard: Heard) -> None:
        """Add a clip to the next question."""
        self.next.append(heard)
        noted(f"{heard.name}: {heard.seconds:.1f} s, heard with the next question")

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "/clip": lambda word: self.add(read_clip(_unquoted(word))),
            "/labels": self._labels,
            "/masked": self._masked,
            "/new": self._new,
            "/help": lambda _: noted(_help()),
        }
        if name not in commands:
            raise AskError(f"no command {name!r}. {did_you_mean(name, list(COMMANDS))}")
        rest = rest.strip()
        if bool(rest) != bool(COMMANDS[name][0]):
            raise AskError(f"expected: {name} {COMMANDS[name][0]}".rstrip())
        commands[name](rest)

    def _labels(self, text: str) -> None:
        labels = split_labels(text)
        rows = ranking(labels, self.answering.rank(self._last(), labels))
        self._print({"labels": rows}, bars(rows))

    def _masked(self, _: str) -> None:
        said = self.answering.answer(self._last(), masked=True).text
        self._print({"answer_masked": said}, f"with the audio masked: {said}")

    def _new(self, _: str) -> None:
        self.talk, self.next = Conversation(self.answering.model), []
        noted("a new conversation")

    def _last(self) -> list[dict[str, Any]]:
        """The conversation up to the last question."""
        if not self.talk.messages:
            raise AskError("nothing was asked yet")
        return self.talk.messages[:-1]

    def _print(self, facts: dict[str, Any], text: str = "") -> None:
        facts = {"question": self.question, **facts}
        print(json.dumps(facts, ensure_ascii=False) if self.jsonl else text, flush=True)


def _unquoted(word: str) -> str:
    """A path without the quotes of a file that was dragged into the terminal."""
    return word[1:-1] if len(word) > 2 and word[0] == word[-1] and word[0] in "'\"" else word


def _help() -> str:
    rows = [(f"{name} {argument}", about) for name, (argument, about) in COMMANDS.items()]
    return text_table(rows, "l", rule=False)


class _Printed(TextStreamer):
    """Prints an answer while it is generated."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        text = text if self.begun else text.lstrip()
        self.begun = self.begun or bool(text)
        print(text, end="", flush=True)


def lines_of(stream: TextIO) -> Iterator[str]:
    """The lines of a pipe; on a terminal a prompt on stderr, with a history where there is one."""
    if not stream.isatty():
        yield from stream
        return
    with contextlib.suppress(ImportError):  # not on every system
        import readline  # noqa: F401 - input() then edits lines
    noted("ask, or /help; Ctrl-D leaves")
    forgotten = False  # by Ctrl-C, the line before
    while True:
        try:
            line = _input()
        except EOFError:
            noted("")
            return
        except KeyboardInterrupt:  # which often comes late, after the answer that it should stop
            noted("" if forgotten else "\nCtrl-C again or Ctrl-D leaves")
            if forgotten:
                return
            forgotten = True
        else:
            forgotten = False
            yield line


def _input() -> str:
    """A line of the terminal; input() prompts on stdout, where only answers belong, if piped."""
    if sys.stdout.isatty():
        return input("> ")
    print("> ", end="", file=sys.stderr, flush=True)
    return input()
