"""A conversation whose turns are cached beside one that starts anew with every turn."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from benchmarks.timing import run_seconds
from pal_plugin.clips import clip
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.chat import Conversation

_EPILOG = """\
examples:
  OMP_NUM_THREADS=1 python -m benchmarks.conversation plits lal
  python -m benchmarks.conversation small --turns 10 --device cuda

what is timed: turn by turn, `Conversation.ask` and `model.chat` on the same history, which encodes
all clips and reads all text anew. Every answer is the same text. The ratio is taken within a turn:
a slow-down of the machine affects both. docs/conversations.md has results.
"""
QUESTION = "What do you hear?"
FOLLOW_UP = "Is it louder than the one before?"
ANSWER = "a dog barks in the rain"


@dataclass
class Turn:
    """One turn: tokens that enter the decoder, clips that are encoded, and seconds by round."""

    tokens: dict[str, int] = field(default_factory=dict)
    clips: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"cached": [], "anew": []})

    @property
    def ratio(self) -> float:
        """Median of the time anew over the time cached."""
        pairs = zip(self.seconds["anew"], self.seconds["cached"], strict=True)
        return statistics.median(anew / cached for anew, cached in pairs)


def main(argv: Sequence[str] | None = None) -> dict[str, list[Turn]]:
    """Measure and print; returns the turns by model."""
    args = _parser().parse_args(argv)
    found = {}
    for name in args.models:
        model = AudioLLM.from_pretrained(name).to(args.device)
        found[name] = measure(model, [clip(c) for c in args.clips], args.turns, args.rounds)
        print(table(name, found[name]))
    return found


def measure(model: AudioLLM, clips: Sequence[Any], turns: int, rounds: int) -> list[Turn]:
    """Conversations of `turns` turns; the first of them bring one clip each."""
    found = [Turn() for _ in range(turns)]
    answer = model.text.answer_ids(ANSWER)
    for round_ in range(rounds + 1):  # the first warms up
        talk = Conversation(model)
        for number, turn in enumerate(found):
            new = clips[number] if number < len(clips) else None
            text = QUESTION if new is not None else FOLLOW_UP
            ways = {
                "cached": partial(talk.ask, text, audio=new),
                "anew": partial(model.chat, [*talk.messages, _message(text, new)]),
            }
            for way in sorted(ways, reverse=bool((round_ + number) % 2)):
                given = partial(ways[way], logits_processor=[_Forced(answer)])
                with _Counted(model) as counted:
                    seconds = run_seconds(given, model.device)
                turn.tokens[way], turn.clips[way] = counted.tokens, counted.clips
                if round_:
                    turn.seconds[way].append(seconds)
    return found


def table(name: str, turns: Sequence[Turn]) -> str:
    """Tokens and clips by turn, and the ratio of times."""
    rows = [f"{name:8s}tokens read    anew   clips encoded    anew   time anew / cached"]
    rows += [
        f"turn {n:<3d}{t.tokens['cached']:11d}{t.tokens['anew']:8d}{t.clips['cached']:16d}"
        f"{t.clips['anew']:8d}{t.ratio:21.2f}"
        for n, t in enumerate(turns, 1)
    ]
    sums = [sum(map(statistics.median, (t.seconds[w] for t in turns))) for w in ("anew", "cached")]
    return "\n".join([*rows, f"all turns: {sums[0] / sums[1]:.2f} times as long anew"])


class _Forced(LogitsProcessor):
    """Makes every answer the same, so that both ways have one history and one length."""

    def __init__(self, answer: Sequence[int]) -> None:
        self.left = iter(answer)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = torch.full_like(scores, float("-inf"))
        forced[:, next(self.left)] = 0
        return forced


class _Counted:
    """Tokens that enter the decoder, and clips that enter the first encoder."""

    def __init__(self, model: AudioLLM) -> None:
        self.model, self.tokens, self.clips = model, 0, 0

    def __enter__(self) -> _Counted:
        def layer(_module: Any, args: tuple, kwargs: dict) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            self.tokens += hidden.shape[0] * hidden.shape[1]

        encode = self.model.encode_audio

        def encode_audio(samples: Any) -> Any:
            encoded = encode(samples)
            self.clips += len(next(iter(encoded.values())))
            return encoded

        self._hook = self.model.decoder.layers[0].register_forward_pre_hook(layer, with_kwargs=True)
        self.model.encode_audio = encode_audio
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        del self.model.encode_audio


def _message(text: str, audio: Any) -> dict[str, Any]:
    parts = [] if audio is None else [{"type": "audio", "audio": audio}]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conversation",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="types or folders: plits, lal, small, ...")
    add("--clips", nargs="+", default=["dog", "rain"], metavar="NAME", help="shipped clips")
    add("--turns", type=int, default=10, metavar="N")
    add("--rounds", type=int, default=5, metavar="N")
    add("--device", default="cpu")
    return parser


if __name__ == "__main__":
    main()
