"""What an audio-LLM is made of, declared apart from what it does.

What saves, describes or trains a model needs its parts only, and `AudioLLM` needs all of those.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from torch import nn

from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.integration import Route
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.models.stages import Stage, kind_of, parameter_table


class ModelParts(nn.Module):
    """Base of `AudioLLM`, whose arguments the parts are.

    Attributes:
        cross_attention: Flamingo's blocks by layer; empty without.
        config: the `model:` section that it was built from; None where it was built from objects.
        loaded_components: components whose weights came from a checkpoint, and that are written
            to the next one together with what is trained (`note_loaded` changes them).
    """

    encoders: nn.ModuleDict
    connectors: nn.ModuleDict
    cross_attention: nn.ModuleDict
    llm: nn.Module
    groups: dict[str, list[str]]
    routing: dict[str, Route]
    text: TextFormat
    frontend: AudioFrontend
    stage: Stage
    config: dict[str, Any] | None = None
    loaded_components: frozenset[str] = frozenset()

    def note_loaded(self, components: Set[str], gone: Set[str] = frozenset()) -> None:
        """Count `components` among the loaded ones, and those that are `gone` no longer."""
        self.loaded_components = (self.loaded_components | components) - gone

    def trainable_table(self) -> str:
        """Trainable and frozen parameters by component, as text."""
        return parameter_table(self)

    def param_groups(self, weight_decay: float) -> list[dict]:
        """AdamW groups by kind of component, with its `name`; matrices decay, vectors do not."""
        groups: dict[tuple[str, bool], list] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                kind = kind_of(name)
                groups.setdefault((kind, parameter.dim() > 1), []).append(parameter)
        return [
            {"name": kind, "params": parameters, "weight_decay": weight_decay if decays else 0.0}
            for (kind, decays), parameters in groups.items()
        ]
