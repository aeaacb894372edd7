"""`AudioContext`: what the layers of an LLM may attend to besides the text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from pal_plugin.attention.layout import audio_positions, text_positions
from pal_plugin.types import AudioTokens


class PassCache:
    """What the layers of one forward pass share.

    Args:
        normed: `[B, m, D]`, H over its root mean square, which the norms of all layers divide by;
            None where they differ.
        index: Long `[R, n]`, how many valid tokens of its row precede each query, itself not
            counted; only where audio stands among the text (`AudioContext.places`).
    """

    def __init__(self, normed: Tensor | None = None, index: Tensor | None = None) -> None:
        self.normed, self.index = normed, index
        self._made: dict[Hashable, tuple[object, Any]] = {}

    def once(self, key: Hashable, make: Callable[[], Any], owner: object) -> Any:
        """What `make` returns, made once; `owner` is what it is made from."""
        key = (key, id(owner))
        if key not in self._made:
            self._made[key] = (owner, make())  # holding the owner keeps its id its own
        return self._made[key][1]


@dataclass(frozen=True)
class AudioContext:
    """Audio as the LLM's layers see it; it travels through the model as a keyword argument.

    Make it outside of a compiled region: whether anything is padded is read from the mask once,
    here, so that no layer has to ask again.

    Args:
        features: `[B, m, D]` audio tokens in the width of the LLM. Padded rows may hold anything,
            even NaN, which a masked softmax would still spread: they are zeroed here.
        mask: `[B, m]` bool, True where a token is attended to. m may differ per sample through it.
        layers: decoder layers that see the audio; None means all of them.
        kv: K/V by layer, kept between calls; None (training) computes them every time. Those of a
            layer are of the columns that it attends to.
        spans: `(columns, layers)` of the groups in their order, where not all layers see all of
            them; `layers` is then found from these.
        positions: Long `[B or 1, m]`, of the keys; None: they are counted (`layout.py`). Audio in
            front of the text is at -count..-1 and the text at 0 and on. Rotary embeddings make this
            the same function as audio 0..m-1 and text from m on, and it leaves the audio
            independent of the text and the text's positions untouched.
        gains: `[L, m]` or None, what each of the LLM's L layers multiplies N(H) with (LAL).
        places: Long `[B, m]`, how many valid tokens of its row precede each audio token, which the
            tokens behind it attend to and those before it do not; None: all audio precedes the row.
        clip_kv: K/V by layer as `kv`, of which the keys are not rotated yet: those of a clip
            wherever it stands (`models/audio_kv.py`).
        cache: of one forward pass (`in_pass`); None outside of it.

    B may also divide the number of text rows, which then ask about one clip each in turn: row i
    attends to clip `i // (rows / B)` (beams, return sequences, several questions about a clip).
    """

    features: Tensor
    mask: Tensor
    layers: frozenset[int] | None = None
    kv: dict[int, tuple[Tensor, Tensor]] | None = field(default=None, compare=False, repr=False)
    spans: tuple[tuple[int, frozenset[int] | None], ...] | None = None
    positions: Tensor | None = field(default=None, compare=False, repr=False)
    gains: Tensor | None = field(default=None, compare=False, repr=False)
    places: Tensor | None = field(default=None, compare=False, repr=False)
    clip_kv: dict[int, tuple[Tensor, Tensor]] | None = field(
        default=None, compare=False, repr=False
    )
    cache: PassCache | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        AudioTokens(self.features, self.mask)  # one place checks shapes
        if self.spans is not None:
            self._check_spans()
        if self.layers is not None:
            object.__setattr__(self, "layers", frozenset(self.layers))
            if not self.layers:
                raise ValueError(
                    "AudioContext.layers is empty: expected at least one layer; None = all"
                )
        if self.padded:
            clean = torch.where(self.mask[..., None], self.features, 0)
            object.__setattr__(self, "features", clean)
            if self.places is not None:
                object.__setattr__(self, "places", torch.where(self.mask, self.places, 0))
        if self.gains is not None and self.gains.shape[1:] != self.mask.shape[1:]:
            raise ValueError(
                f"AudioContext.gains is {tuple(self.gains.shape)}; expected [layers, m] for the "
                f"mask {tuple(self.mask.shape)}"
            )
        if self.places is not None and self.places.shape != self.mask.shape:
            raise ValueError(
                f"AudioContext.places is {tuple(self.places.shape)}; expected that of the mask, "
                f"{tuple(self.mask.shape)}"
            )
        if self.positions is None:
            rows = self.mask if self.padded or self.places is not None else self.mask[:1]
            object.__setattr__(self, "positions", audio_positions(rows, self.places))
        self._by_spans  # noqa: B018 - made here, where no compiler is: no layer then has to

    def _check_spans(self) -> None:
        columns, layers = zip(*self.spans, strict=True)
        if sum(columns) != self.mask.shape[1]:
            raise ValueError(
                f"AudioContext.spans hold {columns} columns, but there are {self.mask.shape[1]}"
            )
        union = None if None in layers else frozenset().union(*layers)
        object.__setattr__(self, "layers", union)

    @classmethod
    def from_tokens(
        cls,
        tokens: AudioTokens,
        layers: Iterable[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> AudioContext:
        """From a connector's tokens, in the LLM's type so that no layer has to cast."""
        return cls.from_groups([(tokens, layers)], dtype)

    @classmethod
    def from_groups(
        cls,
        groups: Sequence[tuple[AudioTokens, Iterable[int] | None]],
        dtype: torch.dtype | None = None,
        gains: Sequence[Tensor | None] | None = None,
    ) -> AudioContext:
        """From the tokens of groups, one behind the other, each with the layers that see it.

        Args:
            gains: of each group `[L]`, or None for a group without.
        """
        tokens = AudioTokens.concat([part for part, _ in groups])
        features = tokens.features if dtype is None else tokens.features.to(dtype)
        spans = tuple(
            (part.mask.shape[1], None if layers is None else frozenset(layers))
            for part, layers in groups
        )
        shared = spans[0][1]
        of_columns = _of_columns(gains or (), [columns for columns, _ in spans])
        if all(layers == shared for _, layers in spans):
            context = cls(features, tokens.mask, shared, gains=of_columns)
        else:
            context = cls(features, tokens.mask, spans=spans, gains=of_columns)
        return context if tokens.hidden is None else context.hiding(tokens.hidden)

    def __len__(self) -> int:
        return self.mask.shape[0]

    def attends_in(self, layer: int) -> bool:
        """Whether a layer sees the audio, or some of it."""
        return self.layers is None or layer in self.layers

    def at(self, layer: int) -> AudioContext:
        """What one layer attends to: the columns of its groups, at the positions that they have
        beside the others."""
        if self.spans is None:
            return self
        part = self._by_spans[self._spans_in(layer)]  # None: all of it
        return self if part is None else part

    def _spans_in(self, layer: int | None) -> tuple[bool, ...]:
        """Which spans a layer attends to; None: one that no span names."""
        return tuple(layers is None or layer in layers for _, layers in self.spans)

    @cached_property
    def padded(self) -> bool:
        """Whether the mask is False anywhere."""
        return self.mask.device.type != "meta" and not bool(self.mask.all())

    @cached_property
    def _by_spans(self) -> dict[tuple[bool, ...], AudioContext | None]:
        """Contexts of layers by the spans that they attend to. None stands for this one itself: a
        circle of references would keep its memory until the garbage collector comes."""
        if self.spans is None:
            return {}
        named = frozenset().union(*(layers or () for _, layers in self.spans))
        sets = {self._spans_in(layer) for layer in (*named, None)}
        return {seen: None if all(seen) else self._of_spans(seen) for seen in sets}

    def _of_spans(self, seen: Sequence[bool]) -> AudioContext:
        ends = list(accumulate(columns for columns, _ in self.spans))
        places = zip(self.spans, ends, seen, strict=True)
        columns = [slice(end - span[0], end) for span, end, is_seen in places if is_seen]
        columns = columns or [slice(0, 0)]

        def taken(tensor: Tensor) -> Tensor:
            return torch.cat([tensor[:, part] for part in columns], 1)

        names = ("features", "mask", "positions", "gains", "places")
        values = {n: taken(getattr(self, n)) for n in names if getattr(self, n) is not None}
        if self.cache is not None:
            normed = self.cache.normed
            normed = None if normed is None else taken(normed)
            values["cache"] = PassCache(normed, self.cache.index)
        return self._copied(spans=None, **values)

    def _copied(self, **fields) -> AudioContext:
        """A copy with other fields, of which nobody asks the device again whether it is padded."""
        copied = copy.copy(self)
        copied.__dict__.pop("_by_spans", None)
        copied.__dict__.update(fields)  # around the lock of a frozen dataclass
        copied._by_spans  # noqa: B018
        return copied

    def hiding(self, columns: Tensor) -> AudioContext:
        """A copy in which `columns` (bool `[m]` or `[B, m]`) are not attended to; all others
        keep their positions. Attention over what is left is that of all columns with the weights of
        these set to zero and the rest renormalised. Cached K/V stay.
        """
        columns = columns.to(self.mask.device)
        return replace(self, mask=self.mask & ~columns)

    def with_kv_cache(self) -> AudioContext:
        """A copy that keeps its K/V: for one `generate`, where the weights stand still."""
        return self if self.kv is not None else self.with_empty_kv_cache()

    def with_empty_kv_cache(self) -> AudioContext:
        """A copy without a graph that keeps K/V from now on, and none of a call before."""
        gains = None if self.gains is None else self.gains.detach()
        return replace(self, features=self.features.detach(), gains=gains, kv={})

    def without_kv(self) -> AudioContext:
        """A copy without any K/V, for another LLM."""
        return replace(self, kv=None, clip_kv=None)

    def in_pass(self, normed: Tensor | None = None) -> AudioContext:
        """A copy for one forward pass; `normed`: see `PassCache`."""
        return self._copied(cache=PassCache(normed))

    def positions_behind(self, index: Tensor) -> Tensor:
        """Positions of text tokens at `index`, Long `[R, n]`; see `layout.py`."""
        mask, places = (repeat_rows(x, len(index)) for x in (self.mask, self.places))
        return text_positions(index, mask, places)

    def seen_from(self, index: Tensor) -> AudioContext:
        """A copy for queries at `index`, see `PassCache`; without `places` where all audio precedes
        all of them, as in decoding. (This asks the device, once in a pass.)

        Raises:
            ValueError: fewer rows than clips, or not a multiple.
        """
        last = repeat_rows(self.places, len(index)).amax(1)
        if bool((last <= index.amin(1)).all()):
            return self._copied(places=None)
        return self._copied(cache=PassCache(self.cache and self.cache.normed, index))

    @property
    def seen_by_all(self) -> bool:
        """Whether every query attends to every column."""
        return not self.padded and self.places is None

    def visible(self, rows: int) -> Tensor:
        """Which audio tokens each query attends to: bool `[R, n or 1, m]`."""
        valid = repeat_rows(self.mask, rows)[:, None]
        if self.places is None:
            return valid
        return valid & (repeat_rows(self.places, rows)[:, None] <= self.cache.index[..., None])

    def select(self, index: Tensor) -> AudioContext:
        """Clips `index` (Long `[R]`), K/V included, without columns that none of them has."""
        index = index.to(self.mask.device)
        mask = self.mask[index]
        positions = self.positions if len(self.positions) == 1 else self.positions[index]
        if mask.is_meta:  # a plan knows no lengths
            return replace(self, features=self.features[index], mask=mask, positions=positions)
        kept = mask.any(0)
        if not bool(kept.any()):
            kept[:1] = True  # no clip has a token: a context has a column
        spans = self.spans
        if spans is not None:
            parts = kept.split([columns for columns, _ in spans])
            spans = tuple((int(p.sum()), s[1]) for p, s in zip(parts, spans, strict=True))
        kv, clip_kv = (
            found
            if found is None  # an empty one is a cache to be filled, and not that of all clips
            else {n: self._selected(n, kept, index, both) for n, both in found.items()}
            for found in (self.kv, self.clip_kv)
        )
        return AudioContext(
            self.features[index][:, kept],
            mask[:, kept],
            self.layers,
            kv,
            spans,
            positions[:, kept],
            None if self.gains is None else self.gains[:, kept],
            None if self.places is None else self.places[index][:, kept],
            clip_kv,
        )

    def _selected(self, layer: int, kept: Tensor, index: Tensor, both: tuple) -> tuple:
        """K and V of a layer, of the columns that it attends to and that are kept."""
        if self.spans is not None:
            parts = kept.split([columns for columns, _ in self.spans])
            pairs = zip(self.spans, parts, strict=True)
            kept = torch.cat([p for (_, ls), p in pairs if ls is None or layer in ls])
        return tuple(tensor[index][:, :, kept] for tensor in both)

    def once(self, key: Hashable, make: Callable[[], Any], owner: object = None) -> Any:
        """What `make` returns, made once for all layers of a pass; `owner` is what it is made from.

        Only for what carries no gradient (masks, rotary tables). A compiler finds the repetition
        by itself and would stumble over the bookkeeping.
        """
        if self.cache is None or torch.compiler.is_compiling():
            return make()
        return self.cache.once(key, make, owner)


def _of_columns(gains: Sequence[Tensor | None], columns: Sequence[int]) -> Tensor | None:
    """Gains of groups, `[L]` each, as `[L, m]`; 1 for a group without."""
    given = next((gain for gain in gains if gain is not None), None)
    if given is None:
        return None
    parts = zip(gains, columns, strict=True)
    return torch.cat(
        [(torch.ones_like(given) if g is None else g)[:, None].expand(-1, n) for g, n in parts], 1
    )


def rows_per_clip(clips: int, rows: int) -> int:
    """How many text rows ask about each clip.

    Raises:
        ValueError: the rows cannot be shared out evenly.
    """
    if rows % clips:
        raise ValueError(
            f"the audio has {clips} samples and the text {rows} rows; expected the same number "
            "or a multiple (beams, several return sequences, several questions about a clip)"
        )
    return rows // clips


def repeat_rows(tensor: Tensor, rows: int) -> Tensor:
    """`[B, ...]` -> `[rows, ...]`, each sample repeated in place."""
    times = rows_per_clip(tensor.shape[0], rows)
    return tensor if times == 1 else tensor.repeat_interleave(times, dim=0)
