"""PAL: a routing table decides, per token group, how audio enters the LLM.

`{group: Route("plits" | "lal" | "flamingo", layers)}` is the whole difference between the baseline,
LAL and the hybrid (PAL paper, section "PAL"): all groups by PLITS, all by LAL, or speech by one and
general audio by the other. A group may also take several routes at once, each to layers of its own.
Nothing here knows what an encoder is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from pal_plugin.attention.arranging import arranged, stacked
from pal_plugin.attention.context import AudioContext, repeat_rows, rows_per_clip
from pal_plugin.attention.layout import audio_positions, places_in_row
from pal_plugin.integration.plits import prepend
from pal_plugin.types import AudioTokens

INTEGRATIONS = ("plits", "lal", "flamingo")


@dataclass(frozen=True)
class Route:
    """How one token group enters the LLM.

    Args:
        integration: "plits", "lal" or "flamingo".
        layers: decoder layers that see the group. LAL: None means all. Flamingo: where a block of
            cross attention is inserted; None means all blocks, by default before every fourth
            layer. PLITS has no choice.
        pool: neighbouring tokens whose mean goes this way as one.
    """

    integration: str
    layers: tuple[int, ...] | None = None
    pool: int = 1

    def __post_init__(self) -> None:
        if self.integration not in INTEGRATIONS:
            raise ValueError(
                f"unknown integration {self.integration!r}; known: {', '.join(INTEGRATIONS)}"
            )
        if isinstance(self.pool, bool) or not isinstance(self.pool, int) or self.pool < 1:
            raise ValueError(f"a route's pool is {self.pool!r}; expected a number from 1 on")
        if self.layers is not None:
            if self.integration == "plits":
                raise ValueError("layers are chosen for 'lal' and 'flamingo', not for 'plits'")
            object.__setattr__(self, "layers", tuple(sorted(int(i) for i in self.layers)))
            if not self.layers:
                raise ValueError("expected at least one layer, got none; layers: null means all")


#: `{group: route or routes}`.
RoutingTable = Mapping[str, Route | Sequence[Route]]


@dataclass(frozen=True)
class LLMInputs:
    """What the decoder is called with.

    Args:
        embeds: `[R, T, D]`: n text tokens, and what is prepended (PLITS).
        mask: `[R, T]`; all padding stands at one end.
        audio: for LAL.
        text_columns: columns of the n text tokens, Long `[R, n]`; None: nothing is prepended.
        cross_audio: for cross attention (Flamingo).
        text_mask: of the text alone, `[R, n]`.
    """

    embeds: Tensor
    mask: Tensor
    audio: AudioContext | None
    text_columns: Tensor | None
    cross_audio: AudioContext | None = None
    text_mask: Tensor | None = None

    @property
    def positions(self) -> Tensor:
        """`[R, T]`, counting valid tokens."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)

    @property
    def audio_kwargs(self) -> dict[str, AudioContext]:
        """Keyword arguments for the decoder or `generate`; only what there is."""
        both = {"audio": self.audio, "cross_audio": self.cross_audio}
        return {name: context for name, context in both.items() if context is not None}

    def count(self) -> tuple[list[int], list[int]]:
        """Tokens of text and of audio in each row, whichever way the audio goes."""
        text = self.text_mask.sum(-1)
        audio = self.mask.sum(-1) - text
        for context in (self.audio, self.cross_audio):
            if context is not None:
                audio = audio + repeat_rows(context.mask.sum(-1), len(text))
        return text.tolist(), audio.tolist()

    def of_text(self, hidden: Tensor) -> Tensor:
        """The decoder's output `[R, T, D]` at the text tokens: `[R, n, D]`."""
        if self.text_columns is None:
            return hidden
        return hidden.gather(1, self.text_columns[..., None].expand(-1, -1, hidden.shape[2]))


@dataclass(frozen=True)
class RoutedAudio:
    """Audio after routing and before any text: what a clip is to the LLM.

    Args:
        prefix: tokens to prepend (PLITS).
        audio: for LAL.
        cross_audio: for cross attention.
    """

    prefix: AudioTokens | None = None
    audio: AudioContext | None = None
    cross_audio: AudioContext | None = None

    def __len__(self) -> int:
        return next((len(part) for part in self.parts if part is not None), 0)

    @property
    def parts(self) -> tuple:
        """The three inputs, None where there is none."""
        return self.prefix, self.audio, self.cross_audio

    def select(self, index: Tensor) -> RoutedAudio:
        """Clips `index` (Long `[R]`)."""
        return RoutedAudio(*(part if part is None else part.select(index) for part in self.parts))

    @classmethod
    def stacked(cls, clips: Sequence[RoutedAudio]) -> RoutedAudio:
        """Clips that one model encoded at different times, as if it had done so at once."""
        prefixes, *contexts = zip(*(clip.parts for clip in clips), strict=True)
        return cls(
            None if prefixes[0] is None else AudioTokens.stacked(prefixes),
            *(None if parts[0] is None else stacked(parts) for parts in contexts),
        )

    def with_text(
        self,
        embeds: Tensor,
        mask: Tensor,
        embedding_scale: float = 1.0,
        side: str = "right",
        clips: ClipPlaces | None = None,
    ) -> LLMInputs:
        """Put a text behind the audio, or around it.

        Args:
            embeds: text embeddings `[R, n, D]`; R is a multiple of the clips, B (several questions
                about each, in the order of the clips), or of the conversations in `clips`.
            mask: `[R, n]` text mask.
            embedding_scale: what the LLM multiplies its inputs with (`families.embedding_scale`).
            side: where rows are padded: "left" to generate, else "right".
            clips: which of the clips each conversation holds, and where; None: one clip each, in
                front of the text.
        """
        routed = self if clips is None else self.arranged(clips.index)
        tokens, audio, cross_audio = routed.parts
        places = None
        if clips is not None and tokens is not None:
            places = clips.of_columns([tokens.mask.shape[1] // clips.index.shape[1]])
        if clips is not None:
            audio, cross_audio = (
                context and clips.put(context, tokens and tokens.mask, places)
                for context in (audio, cross_audio)
            )
        if tokens is None:
            return LLMInputs(embeds, mask, audio, None, cross_audio, mask)
        times = rows_per_clip(len(tokens), len(embeds))
        if times > 1:
            index = torch.arange(len(tokens)).repeat_interleave(times)
            tokens = tokens.select(index)
            places = None if places is None else places[index.to(places.device)]
        row = prepend(tokens, embeds, mask, embedding_scale, side, places)
        whole = row.mask.to(mask.dtype)
        return LLMInputs(row.embeds, whole, audio, row.columns[-1], cross_audio, mask)

    def arranged(self, index: Tensor) -> RoutedAudio:
        """The clips `index` (Long `[B, K]`, -1 for none) of each conversation, one behind the
        other in each of its groups."""
        prefix, *contexts = self.parts
        return RoutedAudio(
            None if prefix is None else prefix.arranged(index),
            *(None if context is None else arranged(context, index) for context in contexts),
        )


@dataclass(frozen=True)
class ClipPlaces:
    """The clips of B conversations, of at most K clips.

    Args:
        index: Long `[B, K]`, the number of each clip; -1 where a conversation has fewer.
        places: Long `[B, K]`, how many valid tokens of the text precede each clip, in rising order;
            0: it is in front of the text.
    """

    index: Tensor
    places: Tensor

    def of_columns(self, widths: Sequence[int]) -> Tensor:
        """Places of columns, `[B, m]`, in groups of K clips, so many columns for each clip."""
        return torch.cat([self.places.repeat_interleave(width, 1) for width in widths], 1)

    def put(
        self, context: AudioContext, prefix_mask: Tensor | None, prefix_places: Tensor | None
    ) -> AudioContext:
        """The context of arranged clips where they stand in a row, beside what is prepended."""
        count = self.places.shape[1]
        spans = context.spans or ((context.mask.shape[1], None),)
        widths = [columns // count for columns, _ in spans]
        places = self.of_columns(widths)
        if prefix_mask is not None:
            places = places_in_row(places, prefix_mask, prefix_places)
        number = torch.arange(count, device=places.device)
        clips = torch.cat([number.repeat_interleave(width) for width in widths])
        positions = audio_positions(context.mask, places, clips)
        inline = bool((places > 0).any())
        return replace(context, places=places if inline else None, positions=positions)


def route(
    groups: dict[str, AudioTokens],
    routing: RoutingTable,
    dtype: torch.dtype | None = None,
    gains: Mapping[str, Tensor] = MappingProxyType({}),
) -> RoutedAudio:
    """Apply the routing table.

    Args:
        groups: audio tokens by group, all with B rows and the width of the LLM.
        routing: one route or several per group.
        dtype: the LLM's type.
        gains: of groups by LAL, `[L]` each, one for each of the LLM's layers.

    Raises:
        ValueError: a group without a route.
    """
    if groups.keys() - routing.keys():
        raise ValueError(
            f"no route for the groups {sorted(groups.keys() - routing.keys())}; "
            f"the routing table has {sorted(routing)}"
        )

    def chosen(integration: str) -> list[tuple[str, AudioTokens, tuple[int, ...] | None]]:
        return [
            (group, tokens.pooled(way.pool), way.layers)
            for group, tokens in groups.items()
            for way in routes_of(routing[group])
            if way.integration == integration
        ]

    def context(integration: str) -> AudioContext | None:
        parts = chosen(integration)
        if not parts:
            return None
        of_groups = [gains.get(group) for group, _, _ in parts] if integration == "lal" else None
        return AudioContext.from_groups([part[1:] for part in parts], dtype, of_groups)

    prefix = [tokens for _, tokens, _ in chosen("plits")]
    return RoutedAudio(
        AudioTokens.concat(prefix) if prefix else None, context("lal"), context("flamingo")
    )


def routes_of(entry: Route | Sequence[Route]) -> tuple[Route, ...]:
    """The routes of one group."""
    return (entry,) if isinstance(entry, Route) else tuple(entry)


def integrations_of(routing: RoutingTable) -> set[str]:
    """The integrations that a table uses."""
    return {way.integration for entry in routing.values() for way in routes_of(entry)}


def groups_by(integration: str, routing: RoutingTable) -> list[str]:
    """The groups that go by an integration, alone or among others."""
    return [
        group
        for group, entry in routing.items()
        if any(way.integration == integration for way in routes_of(entry))
    ]


def blocks_of(routing: RoutingTable, default: Iterable[int]) -> list[int]:
    """The layers that get a block of cross attention: those that the Flamingo routes name, and the
    `default` ones where a route names none."""
    ways = [way for entry in routing.values() for way in routes_of(entry)]
    ways = [way for way in ways if way.integration == "flamingo"]
    default = tuple(default)
    return sorted({i for way in ways for i in (default if way.layers is None else way.layers)})
