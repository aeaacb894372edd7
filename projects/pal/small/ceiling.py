"""What the LLM answers when a text tells it what is heard: a perfect ear, and no training.

    PAL_DATA=FOLDER python projects/pal/small/ceiling.py > output/ceiling.json

Before each question of the evaluation stands a sentence with the true label, and the LLM ranks the
candidates by likelihood per token, untrained and without audio. What it misses here is no fault of
hearing; training may well go beyond it, since it also teaches how to answer. `told`: the share of
clips it answers rightly. Two controls: `shuffled`, where the labels of a domain's clips are dealt
anew, so that the sentence is as long and says nothing true of its clip (chance is near one in ten);
`question_alone`, without a sentence. `believed` is the share of the shuffled clips where the answer
is what the sentence said, true or not.
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
    """Figures by domain, each as `accuracy` gives them.

    Args:
        form: text with {label} and {question}.
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
    parser.add_argument("--seed", type=int, default=0, help="of the shuffling (default: 0)")
    options = parsed(parser, given)
    if "{label}" not in options.form or "{question}" not in options.form:
        parser.error(f"--form must hold {{label}} and {{question}}, got {options.form!r}")
    llm = TextOnly(options.model_type)
    results = evaluate(domains(options.audio, options.every), llm, options.form, options.seed)
    facts = {"model_type": options.model_type, "form": options.form, "seed": options.seed}
    print(json.dumps({**results, "settings": {**facts, "every": options.every}}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
