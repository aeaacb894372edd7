"""PAL: a routing table decides, per token group, how audio enters the LLM.

`{group: Route("plits" | "lal", layers)}` is the whole difference between the baseline, LAL and the
hybrid (PAL paper, section "PAL"): all groups by PLITS, all by LAL, or speech by one and general
audio by the other. Nothing here knows what an encoder is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pal_plugin.integration.lal import AudioContext
from pal_plugin.integration.plits import prepend
from pal_plugin.types import AudioTokens

INTEGRATIONS = ("plits", "lal")


@dataclass(frozen=True)
class Route:
    """How one token group enters the LLM.

    Args:
        integration: "plits" or "lal".
        layers: decoder layers that see the group, for LAL; None means all.
    """

    integration: str
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.integration not in INTEGRATIONS:
            raise ValueError(
                f"unknown integration {self.integration!r}; known: {', '.join(INTEGRATIONS)}"
            )
        if self.layers is not None:
            if self.integration != "lal":
                raise ValueError(f"layers are chosen for 'lal' only, not {self.integration!r}")
            object.__setattr__(self, "layers", tuple(sorted(int(i) for i in self.layers)))


@dataclass(frozen=True)
class LLMInputs:
    """What the decoder is called with; `embeds` is `[B, prefix + n, D]` for n text tokens."""

    embeds: Tensor
    mask: Tensor
    audio: AudioContext | None
    prefix: int

    @property
    def positions(self) -> Tensor:
        """`[B, prefix + n]`, counting valid tokens."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)


def integrate(
    groups: dict[str, AudioTokens], routing: dict[str, Route], embeds: Tensor, mask: Tensor
) -> LLMInputs:
    """Route each group of audio tokens into the LLM's inputs.

    Args:
        groups: audio tokens by group, all with B rows and the width of the LLM.
        routing: one route per group.
        embeds: text embeddings `[B, n, D]`.
        mask: `[B, n]` text mask.

    Raises:
        ValueError: a group without a route, or LAL groups with different sets of layers.
    """
    if groups.keys() - routing.keys():
        raise ValueError(
            f"no route for the groups {sorted(groups.keys() - routing.keys())}; "
            f"the routing table has {sorted(routing)}"
        )
    by_plits = [t for g, t in groups.items() if routing[g].integration == "plits"]
    by_lal = [g for g in groups if routing[g].integration == "lal"]
    prefix = 0
    if by_plits:
        tokens = AudioTokens.concat(by_plits)
        prefix = tokens.features.shape[1]
        embeds, mask = prepend(tokens, embeds, mask)
    audio = None
    if by_lal:
        layers = {routing[g].layers for g in by_lal}
        if len(layers) > 1:
            raise ValueError(
                f"groups {by_lal} go by LAL to different layers {sorted(map(str, layers))}; "
                "give them the same set"
            )
        tokens = AudioTokens.concat([groups[g] for g in by_lal])
        audio = AudioContext.from_tokens(tokens, layers.pop())
    return LLMInputs(embeds, mask, audio, prefix)
