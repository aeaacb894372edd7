"""`AudioContext`: what the layers of an LLM may attend to besides the text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pal_plugin.types import AudioTokens


@dataclass(frozen=True)
class AudioContext:
    """Audio as the LLM's layers see it; it travels through the model as a keyword argument.

    Make it outside of a compiled region: whether anything is padded is read from the mask once,
    here, so that no layer has to ask again.

    Args:
        features: `[B, m, D]` audio tokens in the width of the LLM. Padded rows may hold anything,
            even NaN, which a masked softmax would still spread: they are zeroed here.
        mask: `[B, m]` bool, True where a token is valid. m may differ per sample through it.
        layers: decoder layers that see the audio; None means all of them.
        kv: K/V by layer, kept between calls; None (training) computes them every time.

    Attributes:
        padded: bool, whether the mask is False anywhere.
        normed: tensor or None, what the norms of all layers share, for one forward pass
            (`with_normed`).

    B may also divide the number of text rows, which then ask about one clip each in turn: row i
    hears clip `i // (rows / B)` (beams, several return sequences, several questions about a clip).
    """

    features: Tensor
    mask: Tensor
    layers: frozenset[int] | None = None
    kv: dict[int, tuple[Tensor, Tensor]] | None = field(default=None, compare=False, repr=False)
    # No fields, as FSDP makes a context anew from its fields, for which these are not the same.
    padded = False
    normed = None

    def __post_init__(self) -> None:
        AudioTokens(self.features, self.mask)  # one place checks shapes
        if self.layers is not None:
            object.__setattr__(self, "layers", frozenset(self.layers))
            if not self.layers:
                raise ValueError("AudioContext.layers is empty, so nothing would hear; None = all")
        padded = self.mask.device.type != "meta" and not bool(self.mask.all())
        if padded:
            clean = torch.where(self.mask[..., None], self.features, 0)
            object.__setattr__(self, "features", clean)
        object.__setattr__(self, "padded", padded)
        object.__setattr__(self, "_once", {})

    @classmethod
    def from_tokens(
        cls,
        tokens: AudioTokens,
        layers: Iterable[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> AudioContext:
        """From a connector's tokens, in the LLM's type so that no layer has to cast."""
        features = tokens.features if dtype is None else tokens.features.to(dtype)
        return cls(features, tokens.mask, None if layers is None else frozenset(layers))

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def positions(self) -> Tensor:
        """`[B or 1, m]`, -count..-1 over the valid tokens of each sample.

        Rotary embeddings make this the same function as audio 0..m-1 and text from m on, and it
        leaves the audio independent of the text and the text's positions untouched.
        """
        if not self.padded:
            return torch.arange(-self.mask.shape[1], 0, device=self.mask.device)[None]
        valid = self.mask.long()
        return valid.cumsum(-1) - 1 - valid.sum(-1, keepdim=True)

    def heard_by(self, layer: int) -> bool:
        """Whether a layer sees the audio."""
        return self.layers is None or layer in self.layers

    def remembering(self) -> AudioContext:
        """A copy that keeps its K/V: for one `generate`, where the weights stand still."""
        return self if self.kv is not None else self.forgetting()

    def forgetting(self) -> AudioContext:
        """A copy without a graph that keeps K/V from now on, and none from before."""
        return replace(self, features=self.features.detach(), kv={})

    def with_normed(self, normed: Tensor | None) -> AudioContext:
        """A copy for one forward pass, with what the norms of all layers share, if they do."""
        copied = copy.copy(self)
        object.__setattr__(copied, "normed", normed)
        object.__setattr__(copied, "_once", {})  # masks of one pass serve no other
        return copied

    def select(self, index: Tensor) -> AudioContext:
        """Clips `index` (Long `[R]`), K/V included, without columns that none of them has."""
        index = index.to(self.mask.device)
        kept = columns_of(self.mask[index])
        kv = self.kv
        if kv is not None:
            kv = {i: (k[index][:, :, kept], v[index][:, :, kept]) for i, (k, v) in kv.items()}
        return AudioContext(
            self.features[index][:, kept], self.mask[index][:, kept], self.layers, kv
        )

    def once(self, key: Hashable, make: Callable[[], Any], owner: object = None) -> Any:
        """What `make` returns, made once for all layers; `owner` is what it was made from.

        Only for what carries no gradient (masks, rotary tables). A compiler finds the repetition
        by itself and would stumble over the bookkeeping.
        """
        if torch.compiler.is_compiling():
            return make()
        key = (key, id(owner))
        held = self._once.get(key)
        if held is None:
            held = self._once[key] = (owner, make())  # holding the owner keeps its id its own
        return held[1]


def columns_of(mask: Tensor) -> Tensor | slice:
    """Columns that any row of a mask `[B, m]` uses; all of them, at least one, as a slice."""
    if mask.is_meta or bool((used := mask.any(0)).all()):
        return slice(None)
    return used.nonzero()[:, 0] if bool(used.any()) else slice(0, 1)


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
