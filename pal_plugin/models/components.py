"""The components of an audio-LLM, assembled; what it does is in `audio_llm`."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any

import torch
from torch import nn

from pal_plugin.encoders.cache import EncoderCache
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.integration import attach, flamingo
from pal_plugin.integration.routing import (
    RoutingTable,
    blocks_of,
    groups_by,
    integrations_of,
    routes_of,
)
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.models.stages import Stage, kind_of, parameter_table
from pal_plugin.models.windows import check_groups


class ModelComponents(nn.Module):
    """The components of an audio-LLM, and which of them are trained.

    Args:
        encoders: `{name: encoder}`.
        connectors: `{group: connector}`.
        groups: `{group: inputs}`: names of encoders, or `NAME@2` for a hidden state.
        routing: `{group: Route, or several}`.
        llm: a causal LM of transformers; `attach` is called on it.
        text: its tokenizer and chat format.
        frontend: computes the encoders' features from clips.
        stage: what is trained.
        caches: caches of encoders with cached states, by name.
        lal_gain: initial value of a learned gain on N(H) per layer (`integration/lal.py`), for LAL
            groups; None: no gain, as in the paper.
        audio_place: position of clips that start a conversation, `llm.conversation.AUDIO_PLACES`.

    Attributes:
        cross_attention: Flamingo's blocks by layer; empty without Flamingo.
        gains: LAL's gains `[L]` by group; empty without `lal_gain`.
        config: the `model:` section it was built from; None if built from objects.
        loaded_components: components loaded from a checkpoint, which are written to the next one
            together with the trained ones (updated by `note_loaded`).
        untrained: connectors etc. that were neither loaded nor trained yet, so that the model's
            answers are meaningless.
    """

    config: dict[str, Any] | None = None
    loaded_components: frozenset[str] = frozenset()
    untrained: tuple[str, ...] = ()

    def __init__(
        self,
        encoders: dict[str, nn.Module],
        connectors: dict[str, nn.Module],
        groups: dict[str, list[str]],
        routing: RoutingTable,
        llm: nn.Module,
        text: TextFormat,
        frontend: AudioFrontend,
        stage: Stage | None = None,
        caches: dict[str, EncoderCache] | None = None,
        lal_gain: float | None = None,
        audio_place: str = "front",
    ) -> None:
        super().__init__()
        check_groups(groups, frontend.features)
        self.encoders = nn.ModuleDict(encoders)
        self.connectors = nn.ModuleDict(connectors)
        self.llm = attach(llm)
        self.groups, self.text, self.frontend = groups, text, frontend
        self.audio_place = audio_place
        self.routing = {group: routes_of(entry) for group, entry in routing.items()}
        self.cross_attention = nn.ModuleDict()
        if "flamingo" in integrations_of(routing):
            default = flamingo.default_layers(len(self.decoder.layers))
            self.cross_attention = flamingo.attach(llm, blocks_of(routing, default))
        depth = len(self.decoder.layers)
        groups_with_gain = [] if lal_gain is None else groups_by("lal", self.routing)
        self.gains = nn.ParameterDict(
            {g: torch.full((depth,), float(lal_gain)) for g in groups_with_gain}
        )
        self.caches = caches or {}
        self.stage = stage or Stage()
        self.stage.apply(
            self.encoders, self.connectors, self.llm, [self.cross_attention, self.gains]
        )
        self.train(self.training)  # puts frozen modules in eval mode

    def train(self, mode: bool = True):
        """Keeps frozen encoders and connectors in eval mode: no dropout, no BatchNorm updates."""
        super().train(mode)
        if self.stage.encoders == "frozen":
            self.encoders.eval()
        if self.stage.connectors == "frozen":
            self.connectors.eval()
        return self

    def note_loaded(self, components: Set[str], gone: Set[str] = frozenset()) -> None:
        """Adds `components` to the loaded ones, and removes those in `gone`."""
        self.loaded_components = (self.loaded_components | components) - gone
        self.untrained = tuple(name for name in self.untrained if name not in components)

    def tell_untrained(self) -> None:
        """Warns about `untrained`, once."""
        if self.untrained:
            logging.warning(
                "%s: random weights, never trained, so answers do not depend on the audio in a "
                "useful way; train this model, or load weights (model.checkpoint, load_checkpoint)",
                ", ".join(self.untrained),
            )
        self.untrained = ()

    @property
    def device(self) -> torch.device:
        """The device of the LLM's embeddings."""
        return self.llm.get_input_embeddings().weight.device

    @property
    def decoder(self) -> nn.Module:
        """The LLM's stack of layers, which gets sharded, compiled and checkpointed."""
        return self.llm.get_decoder()

    def checkpoint_activations(self) -> None:
        """Enables gradient checkpointing: recomputes activations in the backward pass."""
        # renamed in transformers 5.24
        enable = getattr(self.llm, "activation_checkpointing_enable", None)
        (enable or self.llm.gradient_checkpointing_enable)({"use_reentrant": False})

    def trainable_table(self) -> str:
        """Trainable and frozen parameters by component, as a text table."""
        return parameter_table(self)

    def param_groups(self, weight_decay: float) -> list[dict]:
        """AdamW parameter groups by kind of component (`name`); weight decay for matrices only."""
        groups: dict[tuple[str, bool], list] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                kind = kind_of(name)
                groups.setdefault((kind, parameter.dim() > 1), []).append(parameter)
        return [
            {"name": kind, "params": parameters, "weight_decay": weight_decay if decays else 0.0}
            for (kind, decays), parameters in groups.items()
        ]
