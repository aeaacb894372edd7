"""What a linear classifier reads from the frozen encoder, layer by layer.

    PAL_DATA=FOLDER python projects/pal/small/probe.py > output/probe.json

The Whisper of the model type hears each clip as the model would (same windows, padding left out).
Mean and standard deviation over time of its states, standardised, then a logistic regression
(C = 0.05), one per domain and layer, fitted to the training clips of projects/pal/mini/splits.csv.
`0` is what enters the first layer, `1` what leaves it, and so on; `end` is behind the last norm,
which is what a connector is given unless `hidden_states` says otherwise. It bounds what training
on those clips can be hoped to bring, and is no strict bound: a connector sees states in time
order and the LLM more than a mean. Of the layers none is chosen here: to take the best of them by
its validation figure would be a selection.
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
    """The frozen Whisper of a model type, giving statistics of all its states.

    Raises:
        ValueError: there is no such type, or no Whisper in it.
        FileNotFoundError: its weights are not here; says how to get them.
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
        """`[layers, 2 D]`: means and standard deviations over all windows' valid states."""
        heard = self.frontend.joined({"audio": [str(path)]})[self.name]
        tokens: AudioTokens = self.encoder(heard["features"], heard["frames"])
        states = list(tokens.features[tokens.mask].chunk(len(self.layers) - 1, dim=-1))
        states.append(self._norm(states[-1]))
        return torch.stack([_moments(state) for state in states]).numpy()


def _moments(states: Tensor) -> Tensor:
    return torch.cat([states.mean(0), states.std(0, correction=0)])


def evaluate(asked: Sequence[Domain], ear: Ear) -> dict[str, Any]:
    """`{layer: {domain: {"accuracy", "n"}}}`; each clip is heard once."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    paths = dict.fromkeys(clip.path for d in asked for clip in [*d.train, *d.val])
    with progress_bar(len(paths), "heard", "clip") as bar:
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
