"""What an audio-LLM is made of, put together; apart from what it does (`audio_llm`)."""

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
    """The parts of an LLM that hears, and what is trained of them.

    Args:
        encoders: `{name: encoder}`.
        connectors: `{group: connector}`.
        groups: `{group: [what it reads]}`: names of encoders, or `NAME@2` of a hidden state.
        routing: `{group: Route, or several}`.
        llm: a causal LM of transformers; `attach` is called on it.
        text: its tokenizer and chat format.
        frontend: from clips to the encoders' features.
        stage: what is trained.
        caches: of encoders whose states are kept, by name.
        lal_gain: what N(H) is multiplied with in each layer at the start, and learned from there on
            (`integration/lal.py`), of groups by LAL; None: nothing, as in the paper.
        audio_place: where clips go that open a conversation, `llm.conversation.AUDIO_PLACES`.

    Attributes:
        cross_attention: Flamingo's blocks by layer; empty without.
        gains: LAL's `[L]` by group; empty without `lal_gain`.
        config: the `model:` section that it was built from; None where it was built from objects.
        loaded_components: components whose weights came from a checkpoint, and that are written
            to the next one together with what is trained (`note_loaded` changes them).
        untrained: connectors and the like that neither came from a checkpoint nor were trained
            since; what a model that was built from a configuration answers by them means nothing.
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
        self.train(self.training)  # what is frozen hears in eval mode from the first call on

    def train(self, mode: bool = True):
        """Frozen encoders and connectors stay in eval mode: no dropout, no moving statistics."""
        super().train(mode)
        if self.stage.encoders == "frozen":
            self.encoders.eval()
        if self.stage.connectors == "frozen":
            self.connectors.eval()
        return self

    def note_loaded(self, components: Set[str], gone: Set[str] = frozenset()) -> None:
        """Count `components` among the loaded ones, and those that are `gone` no longer."""
        self.loaded_components = (self.loaded_components | components) - gone
        self.untrained = tuple(name for name in self.untrained if name not in components)

    def tell_untrained(self) -> None:
        """Warn, once, of `untrained`."""
        if self.untrained:
            logging.warning(
                "%s: random weights, never trained, so answers say nothing about the audio; train "
                "this model, or load what was trained (model.checkpoint, load_checkpoint)",
                ", ".join(self.untrained),
            )
        self.untrained = ()

    @property
    def device(self) -> torch.device:
        return self.llm.get_input_embeddings().weight.device

    @property
    def decoder(self) -> nn.Module:
        """The LLM's stack of layers, which is what is sharded, compiled and checkpointed."""
        return self.llm.get_decoder()

    def checkpoint_activations(self) -> None:
        """Make the layers' activations anew in the backward pass, in place of keeping them."""
        # transformers 5.24 has another name for it.
        enable = getattr(self.llm, "activation_checkpointing_enable", None)
        (enable or self.llm.gradient_checkpointing_enable)({"use_reentrant": False})

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
