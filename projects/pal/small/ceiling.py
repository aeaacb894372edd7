"""Ceiling: the untrained LLM's accuracy when the prompt states the true label.

    PAL_DATA=FOLDER python projects/pal/small/ceiling.py > output/ceiling.json

A sentence with the true label precedes each question of the evaluation, and the LLM ranks the
candidates by likelihood per token, untrained and without audio. Its errors are not caused by the
audio path; training may exceed this accuracy, since it also teaches how to answer. `told`: accuracy
with the true label. Two controls: `shuffled`, with the labels of a domain's clips permuted, so that
the sentence is as long but uninformative (chance is near one in ten); `question_alone`, without a
sentence. `believed` is the share of shuffled clips where the answer is the label in the sentence.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from asked import Domain, accuracy, arguments, domains, parsed
from text_only import TextOnly

from pal_plugin.utils.runtime import progress_bar

FORM = "You hear a sound of: {label}. {question}"


def evaluate(listeners: Sequence[Domain], llm: TextOnly, form: str, seed: int) -> dict[str, Any]:
    """Metrics by domain, each as returned by `accuracy`.

    Args:
        listeners: domains to evaluate.
        llm: ranks the candidates.
        form: prompt with {label} and {question}.
        seed: of the shuffling.
    """

    @cache
    def choose(domain: Domain, prompt: str) -> str:
        return llm.choose(prompt, domain.candidates)

    results = {}
    with progress_bar(sum(len(d.val) for d in listeners), "described", "clip") as bar:
        for domain in listeners:
            labels = [clip.label for clip in domain.val]
            dealt = random.Random(seed).sample(labels, len(labels))

            def told(label: str, domain: Domain = domain) -> str:
                return choose(domain, form.format(label=label, question=domain.question))

            answers = [told(label) for label in labels]
            misled = [told(label) for label in dealt]
            silent = [choose(domain, domain.question)] * len(labels)
            results[domain.name] = {
                "told": accuracy(answers, labels),
                "shuffled": accuracy(misled, labels),
                "believed": accuracy(misled, dealt),
                "question_alone": accuracy(silent, labels),
            }
            bar.update(len(labels))
    return results


def main(given: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument(
        "--form",
        default=FORM,
        metavar="TEXT",
        help=f"the prompt, with {{label}} and {{question}} (default: {FORM!r})",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffling (default: 0)")
    options = parsed(parser, given)
    if "{label}" not in options.form or "{question}" not in options.form:
        parser.error(f"--form: expected {{label}} and {{question}}, got {options.form!r}")
    llm = TextOnly(options.model_type)
    results = evaluate(domains(options.audio, options.every), llm, options.form, options.seed)
    facts = {"model_type": options.model_type, "form": options.form, "seed": options.seed}
    print(json.dumps({**results, "settings": {**facts, "every": options.every}}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
