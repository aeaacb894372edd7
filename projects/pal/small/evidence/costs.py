"""What a training step and an answer cost: FLOPs counted without weights, times side by side.

Times are ratios to PLITS within a round: the types take turns in one process, each round begins
with another one, and a machine that slows down for a while slows all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pal_plugin.encoders.cache import encode_audio
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.stages import parameter_counts
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload, loss_of, make_batch
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.runtime import progress_bar

REFERENCE = "plits"
STEP, ANSWER = "step", "answer"
Sections = Mapping[str, Mapping[str, Any]]


def count(sections: Sections, work: Workload) -> dict[str, dict[str, Any]]:
    """FLOPs and tokens by type, counted on the meta device.

    A step is forward and backward of `work` without the frozen encoder, whose states are kept; an
    answer is one clip heard, a prompt read and `work.answer` tokens made, with a KV cache.

    Args:
        sections: plain `model:` sections by type.
    """
    found = {}
    one = Workload(1, clip_s=work.clip_s, text=work.text, answer=work.answer)
    with progress_bar(len(sections), "counted", "type", lines=True) as bar:
        for kind, section in sections.items():
            model = build_skeleton(dict(section)).model
            step, answer = count_step(model, work), count_step(model, one)
            encoders = sum(n for name, n in step.forward.items() if name.startswith("encoders."))
            found[kind] = {
                "step_flops": step.flops - encoders,
                "encoders_flops": encoders,
                "answer_flops": sum(answer.forward.values()),
                "audio_tokens": sum(step.tokens.values()),
                "trainable": sum(trained for trained, _ in parameter_counts(model).values()),
            }
            bar.update()
    return found


def take_times(sections: Sections, work: Workload, rounds: int) -> dict[str, dict[str, list]]:
    """Seconds of `STEP` and `ANSWER` by type, one per round.

    Raises:
        ConfigError: PLITS is not among the types.
    """
    if REFERENCE not in sections:
        raise ConfigError(f"times are ratios to {REFERENCE}, which is not among {list(sections)}")
    turns: dict[str, dict[str, Callable[[], object]]] = {}
    with progress_bar((rounds + 1) * len(sections), "timed", "turn", lines=True) as bar:
        for kind, section in sections.items():
            model = AudioLLM.from_config(dict(section))
            turns[kind] = {STEP: _step(model, work), ANSWER: _answer(model, work)}
            for act in turns[kind].values():
                act()  # warm
            bar.update()
        seconds = {kind: {STEP: [], ANSWER: []} for kind in turns}
        names = list(turns)
        for number in range(rounds):
            first = number % len(names)
            for kind in names[first:] + names[:first]:
                for what, act in turns[kind].items():
                    begun = time.perf_counter()
                    act()
                    seconds[kind][what].append(time.perf_counter() - begun)
                bar.update()
    return seconds


def ratios(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, list]]:
    """`[median, lower quartile, upper quartile]` of each type's time over PLITS's of its round."""
    found: dict[str, dict[str, list]] = {}
    for kind, of_kind in seconds.items():
        found[kind] = {}
        for what, values in of_kind.items():
            of_round = np.array(values) / np.array(seconds[REFERENCE][what])
            found[kind][what] = [float(q) for q in np.quantile(of_round, [0.5, 0.25, 0.75])]
    return found


def report(sections: Sections, work: Workload, rounds: int) -> dict[str, Any]:
    """What `results.py time` writes; without rounds there are no times."""
    types = count(sections, work)
    if rounds:
        for kind, of_kind in ratios(take_times(sections, work, rounds)).items():
            types[kind]["times"] = of_kind
    return {"workload": asdict(work), "rounds": rounds, "types": types}


def _step(model: AudioLLM, work: Workload) -> Callable[[], None]:
    """A training step with kept encoder states. A rate of 0 leaves the weights as they are."""
    batch = make_batch(model, work)
    with torch.no_grad():
        kept = dict(encode_audio(model.encoders, {}, model.frontend.joined(batch.samples)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    hearing = [(model.encoders[name], tokens) for name, tokens in kept.items()]

    def step() -> None:
        model.train()
        for encoder, tokens in hearing:
            encoder.forward = lambda *_, tokens=tokens: tokens
        try:
            loss_of(model, batch, work.answer).backward()
        finally:
            for encoder, _ in hearing:
                del encoder.forward
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _answer(model: AudioLLM, work: Workload) -> Callable[[], object]:
    """One clip heard and asked about, the encoder included; always equally many tokens."""
    one = Workload(1, clip_s=work.clip_s, text=work.text, answer=work.answer)
    samples = {"audio": make_batch(model, one).samples["audio"]}
    samples["text_input"] = ["What do you hear?"]

    def answer() -> object:
        model.eval()
        return model.generate(
            samples, max_new_tokens=work.answer, min_new_tokens=work.answer, use_cache=True
        )

    return answer
