"""Linear probe: a classifier on the frozen encoder's states, layer by layer.

    PAL_DATA=FOLDER python projects/pal/small/probe.py > output/probe.json

The Whisper of the model type encodes each clip as in the model (same windows, without padding).
Mean and standard deviation of its states over time, standardized, then a logistic regression
(C = 0.05), one per domain and layer, fitted to the training clips of projects/pal/mini/splits.csv.
`0` is the input of the first layer, `1` its output, and so on; `end` is after the final norm, the
input of a connector unless `hidden_states` is set. It indicates what training on those clips can
reach, but is no strict bound: a connector sees states in time order and the LLM more than a mean.
No layer is selected: the best one by its validation metric would be a biased choice.
Needs scikit-learn (`pip install -e ".[eval]"`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from asked import Domain, accuracy, arguments, domains, parsed
from torch import Tensor

from pal_plugin.config.zoo import type_section
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.build import build_encoders
from pal_plugin.types import AudioTokens
from pal_plugin.utils.runtime import progress_bar

C = 0.05
END = "end"


class Ear:
    """The frozen Whisper of a model type, and statistics of all its states.

    Raises:
        ValueError: an unknown type, or one without Whisper.
        FileNotFoundError: its weights are not available; says how to get them.
    """

    def __init__(self, model_type: str) -> None:
        encoders = type_section(model_type)["encoders"]
        found = {name: e for name, e in encoders.items() if e and e["type"] == "whisper"}
        if not found:
            raise ValueError(f"model type {model_type!r} has no Whisper, only {sorted(encoders)}")
        self.name, entry = next(iter(found.items()))
        entry = {**entry, "hidden_states": None}
        self.frontend = AudioFrontend({self.name: entry})
        self.encoder = build_encoders({self.name: entry})[self.name].eval()
        self._norm = self.encoder.encoder.layer_norm
        states = range(len(self.encoder.stack) + 1)
        self.encoder.select_hidden_states(states)
        self.layers = [*map(str, states), END]

    @torch.no_grad()
    def statistics(self, path: Path) -> np.ndarray:
        """`[L, 2 D]` for L layers of width D: mean and standard deviation over all valid states."""
        heard = self.frontend.joined({"audio": [str(path)]})[self.name]
        tokens: AudioTokens = self.encoder(heard["features"], heard["frames"])
        states = list(tokens.features[tokens.mask].chunk(len(self.layers) - 1, dim=-1))
        states.append(self._norm(states[-1]))
        return torch.stack([_moments(state) for state in states]).numpy()


def _moments(states: Tensor) -> Tensor:
    return torch.cat([states.mean(0), states.std(0, correction=0)])


def evaluate(asked: Sequence[Domain], ear: Ear) -> dict[str, Any]:
    """`{layer: {domain: {"accuracy", "n"}}}`; each clip is encoded once."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    paths = dict.fromkeys(clip.path for d in asked for clip in [*d.train, *d.val])
    with progress_bar(len(paths), "encoded", "clip") as bar:
        for path in paths:
            paths[path] = ear.statistics(path)
            bar.update()
    results: dict[str, Any] = {}
    for number, layer in enumerate(ear.layers):
        results[layer] = {}
        for domain in asked:
            train, val = (
                np.stack([paths[clip.path][number] for clip in clips])
                for clips in (domain.train, domain.val)
            )
            model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
            model.fit(train, [clip.label for clip in domain.train])
            right = [clip.label for clip in domain.val]
            results[layer][domain.name] = accuracy(list(model.predict(val)), right)
    return results


def main(given: Sequence[str] | None = None) -> int:
    options = parsed(arguments(__doc__, every=False), given)
    results = evaluate(domains(options.audio), Ear(options.model_type))
    print(json.dumps({**results, "settings": {"model_type": options.model_type, "C": C}}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
