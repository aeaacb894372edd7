"""`AudioLLM` as a model of lmms-eval (0.7.3). lmms-eval imports this by its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from pal_plugin.hosts.lmms_eval.prompts import Prompt, batch_of, batches, generation_of, prompt_of
from pal_plugin.hosts.lmms_eval.scores import Score, score
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import Completion, complete

_LLM = ("dtype", "attn_implementation", "quantize", "llm")


class Pal(lmms):
    """An audio-LLM for lmms-eval's tasks (docs/lmms_eval.md).

    Args:
        pretrained: a model type or a folder, as for `AudioLLM.from_pretrained`.
        run: a run's folder in its place.
        batch_size: questions at a time; answers do not depend on it.
        device: the default is the process's GPU, if there is one.
        per_token: whether `loglikelihood` gives a choice's mean over its tokens, which ranks as
            `predict_class` does, or the sum.
        mask_audio: keep the audio out of the attention: the control of every figure.
        settings: `dtype`, `attn_implementation`, `quantize`, `llm` of `from_pretrained`.

    Raises:
        ValueError: an unknown argument, or not one of `pretrained` and `run`.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | None = None,
        run: str | None = None,
        batch_size: int | str = 1,
        device: str | None = None,
        per_token: bool = True,
        mask_audio: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        if unknown := [name for name in settings if name not in _LLM]:
            raise ValueError(
                f"model_args has {', '.join(unknown)}; known: pretrained, run, batch_size, "
                f"device, per_token, mask_audio, {', '.join(_LLM)}"
            )
        if (pretrained is None) == (run is None) or (run is not None and settings):
            raise ValueError(
                "expected pretrained=TYPE or FOLDER, or run=output/RUN (which takes no "
                f"{', '.join(_LLM)}); got pretrained={pretrained!r}, run={run!r}, {settings}"
            )
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected a number, at least 1")
        for name, value in {"per_token": per_token, "mask_audio": mask_audio}.items():
            if not isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; expected true or false")
        self.size = int(batch_size)
        self.per_token = per_token
        self.mask_audio = mask_audio
        self.device = torch.device(device or _device())
        model = AudioLLM.from_run(run) if run else AudioLLM.from_pretrained(pretrained, **settings)
        self.model = model.to(self.device).eval()

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """An answer to each request, with the numbers of its tokens (text and audio)."""
        prompts = [
            partial(self._prompt, text, clips_of, place)
            for text, _, clips_of, *place in (one.args for one in requests)
        ]
        settings = [generation_of(one.args[1]) for one in requests]
        return [
            GenerationResult(
                done.text,
                TokenCounts(done.prompt_tokens + done.audio_tokens, done.completion_tokens),
            )
            for done in self._complete(prompts, settings)
        ]

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[list[str]]:
        """The answers of each request's rounds.

        The task writes each prompt anew, from the answers so far, until it says that it is done.
        """
        asked = [one.args for one in requests]
        settings = [generation_of(given) for _, given, *_ in asked]
        prompts = {
            i: partial(self._prompt, text, clips_of, place)
            for i, (text, _, clips_of, _, *place) in enumerate(asked)
        }
        answers: list[list[str]] = [[] for _ in asked]
        known: list[Any] = [None] * len(asked)
        number = 0
        while prompts:
            said = self._complete([*prompts.values()], [settings[i] for i in prompts])
            number += 1
            for i, done in zip([*prompts], said, strict=True):
                next_round, place = asked[i][3], asked[i][4:]
                clips, text, ended, rounds, known[i] = next_round(
                    self._document(*place),
                    previous_output=[*answers[i], done.text],
                    round_idx=number,
                    previous_round_info=known[i],
                )
                answers[i] = list(rounds)
                prompts[i] = partial(prompt_of, text, clips)
                if ended:
                    del prompts[i]
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """`(score, whether greedy decoding says it)` of each continuation, as the `text` of a
        result: a bare pair becomes a string on its way through lmms-eval 0.7.3.

        For the choices of `multiple_choice` the score is the *negative* log-probability: lmms-eval
        takes the choice with the smallest, since its own models return their loss. For a task of
        type `loglikelihood`, whose target is a function, it is the log-probability, as lmms-eval's
        perplexity expects.

        Raises:
            ValueError: a request without a document (`acc_mutual_info`).
        """
        asked = [self._continuation(one.args) for one in requests]
        texts: dict[tuple, dict[str, None]] = {}
        clips_of = {}
        for (key, text, _), one in zip(asked, requests, strict=True):
            texts.setdefault(key, {})[text] = None
            clips_of[key] = one.args[2]
        keys, scores = [*texts], {}
        for indices in self._shown(batches([[*of_key] for of_key in texts.values()], self.size)):
            rows = [keys[i] for i in indices]
            prompts = [self._prompt(key[0], clips_of[key], key[1:]) for key in rows]
            candidates = [*texts[rows[0]]]
            samples = batch_of(prompts, self.mask_audio)
            for key, found in zip(rows, score(self.model, samples, candidates), strict=True):
                scores |= {(key, text): one for text, one in zip(candidates, found, strict=True)}
        return [
            GenerationResult((self._value(scores[key, text], is_choice), scores[key, text].greedy))
            for key, text, is_choice in asked
        ]

    def _continuation(self, args: tuple) -> tuple[tuple, str, bool]:
        """(context and document, continuation, whether it is one of several choices)."""
        if len(args) != 6:
            raise ValueError(
                "a request without a document: the metric acc_mutual_info is not supported"
            )
        text, target, _, *place = args
        is_choice = isinstance(target, str)
        said = target if is_choice else str(target(self._document(*place)))
        return (text, *place), said, is_choice

    def _value(self, found: Score, is_choice: bool) -> float:
        if not is_choice:
            return found.log_probability
        return -found.log_probability / (found.tokens if self.per_token else 1)

    def _complete(
        self, prompts: Sequence[Callable[[], Prompt]], settings: Sequence[dict[str, Any]]
    ) -> list[Completion]:
        """Answers; a prompt's clips are decoded when its batch is due."""
        found: dict[int, Completion] = {}
        for indices in self._shown(batches(settings, self.size)):
            samples = batch_of([prompts[i]() for i in indices], self.mask_audio)
            done = complete(self.model, samples, **settings[indices[0]])
            found |= dict(zip(indices, done, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _prompt(self, text: str, clips_of: Callable[[Any], Any], place: Sequence[Any]) -> Prompt:
        return prompt_of(text, clips_of(self._document(*place)))

    def _document(self, number: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][number]

    def _shown(self, groups: Iterable[list[int]]) -> Any:
        return tqdm(list(groups), desc="pal", unit="batch", disable=self.rank != 0)


def _device() -> str:
    """The GPU of this process; lmms-eval starts one per GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
