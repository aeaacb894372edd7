"""What an audio encoder is to the rest: a log-mel front end and a module that yields AudioTokens.

Design choice: an encoder's `state_dict` has the key names of a public checkpoint layout, so what
is saved here is read elsewhere and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from pal_plugin.audio.features import AudioFeatures
from pal_plugin.types import AudioTokens


class AudioEncoder(nn.Module):
    """Base of the encoders.

    Attributes:
        width: channels D of the tokens.
        window_s: seconds that one window covers.
        grid: `(time cells, frequency cells)` of one window, or None for a plain sequence.
        n_mels: mel channels that it reads, or None where there is no choice.
        arguments: what `from_checkpoint` built it with, by name, sizes that a folder gave included;
            empty where it was built by its class.
        Features: the AudioFeatures class that makes this encoder's input.
        defaults: values that arguments have where a checkpoint does not mention them.
        hidden_states: which of them it gives (`give`); None: what comes out at its end.
    """

    Features: type[AudioFeatures]
    defaults: Mapping[str, Any] = MappingProxyType({})
    n_mels: int | None = None
    width: int
    window_s: float
    grid: tuple[int, int] | None
    arguments: Mapping[str, Any] = MappingProxyType({})
    hidden_states: tuple[int, ...] | None = None

    @property
    def stack(self) -> nn.ModuleList:
        """The layers, all of one width and grid. Raises ValueError where there are no such."""
        raise ValueError(
            f"the layers of {type(self).__name__} differ in size, so hidden_states cannot be chosen"
        )

    @property
    def span_s(self) -> float:
        """Seconds from the start of a window's first time row (or token) to where a row after its
        last would start: the window, unless rows are cut from padded or unpadded frames."""
        return self.window_s

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """`[W, ...]` (and Long `[W]` valid frames; None: all) -> AudioTokens of W rows.

        Cells after the clip's end are False in the mask; each row has at least one True cell.
        """
        raise NotImplementedError

    def check(self, features: AudioFeatures) -> None:
        """Raise ValueError where `features` make another input than this encoder reads."""
        made = getattr(features, "n_mels", None)
        if self.n_mels is not None and made is not None and self.n_mels != made:
            raise ValueError(
                f"it reads {self.n_mels} mels, its features make {made}; "
                f"set features: {{n_mels: {self.n_mels}}}"
            )
        if abs(self.window_s - features.window_s) > 1e-6:
            raise ValueError(
                f"its windows last {self.window_s} s, those of its features "
                f"{features.window_s} s; give window_s once, under features"
            )

    def give(self, hidden_states: Sequence[int]) -> None:
        """Give hidden states in place of what comes out at the end, side by side `[W, N, k D]`.

        Args:
            hidden_states: 0 is what enters the first layer, i what leaves layer i, before any norm
                behind the last one. Layers that no state needs are taken out.

        Raises:
            ValueError: no, repeated or unknown ones, or an encoder whose layers differ in size.
        """
        chosen, blocks = list(hidden_states), self.stack
        if (
            not chosen
            or chosen != sorted(set(chosen))
            or not 0 <= chosen[0] <= chosen[-1] <= len(blocks)
        ):
            raise ValueError(
                f"hidden_states is {chosen}; expected numbers in rising order from 0 (before the "
                f"first layer) to {len(blocks)} (behind the last one)"
            )
        del blocks[max(1, chosen[-1]) :]
        self.hidden_states = tuple(chosen)

    def chosen(self, run: Callable[[], Tensor]) -> Tensor:
        """What `run` returns, `[W, S, D]`, or the hidden states on its way that `give` asked for,
        `[W, S, k D]`."""
        if self.hidden_states is None:
            return run()
        taken: dict[int, Tensor] = {}

        def keep(index: int) -> Callable:
            def hook(_module, _args, output) -> None:
                taken[index] = output if isinstance(output, Tensor) else output[0]

            return hook

        def entering(_module, args, kwargs) -> None:
            taken[0] = args[0] if args else kwargs["hidden_states"]

        hooks = [self.stack[0].register_forward_pre_hook(entering, with_kwargs=True)]
        hooks += [self.stack[i - 1].register_forward_hook(keep(i)) for i in self.hidden_states if i]
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([taken[i] for i in self.hidden_states], dim=-1)

    @classmethod
    def sizes_of(cls, path: Path) -> dict[str, Any]:
        """The class's arguments that the files at `path` themselves give; none unless overridden.

        No weight is read, so that a plan and a training run learn sizes from one place.
        """
        return {}

    @classmethod
    def arguments_for(
        cls, stored: Mapping[str, Any], given: Mapping[str, Any], source: str | Path
    ) -> dict[str, Any]:
        """The class's arguments for a checkpoint.

        Args:
            stored: what the checkpoint itself says, see `sizes_of`.
            given: what the configuration says.
            source: the checkpoint, for messages.

        Raises:
            ValueError: a given size that is not the checkpoint's. Rates of dropout are free.
        """
        given = {name: value for name, value in given.items() if value is not None}
        differ = [
            f"{name} {value} and not {given[name]}"
            for name, value in stored.items()
            if name in given and given[name] != value and "drop" not in name
        ]
        if differ:
            raise ValueError(
                f"the checkpoint {source} says {', '.join(differ)}; leave these out of the "
                "encoder's settings (model: null leaves all of them out)"
            )
        told = {k: v for k, v in stored.items() if k not in cls.defaults or v != cls.defaults[k]}
        return {**told, **given}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> AudioEncoder:
        """Build with the arguments `model` and load `path`; see the subclass for the layouts."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> AudioEncoder:
        """As `nn.Module.train`, but an encoder without a trainable parameter stays in eval mode:
        frozen means that its features do not change (no dropout, no BatchNorm update)."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def as_input(self, features: Tensor, dims: int, expected: str) -> Tensor:
        """Check the number of dimensions and cast to the weights' dtype."""
        if features.dim() != dims:
            raise ValueError(
                f"{type(self).__name__} expects features {expected}, got {tuple(features.shape)}"
            )
        return features.to(next(self.parameters()).dtype)

    @staticmethod
    def as_tokens(
        outputs: Tensor,
        frames: Tensor | None,
        per_cell: float,
        grid: tuple[int, int] | None = None,
    ) -> AudioTokens:
        """Outputs whose first ceil(frames / per_cell) time cells, at least one, are the clip's.

        Args:
            outputs: `[W, N, D]`, time-major where there is a grid.
            frames: Long `[W]`, or None where all cells are valid. They are read on the CPU, where
                a batch keeps them: then nobody waits for the device to learn how long clips are.
            per_cell: feature frames of a time cell.
            grid: `(time cells, frequency cells)`, N = their product.
        """
        count, columns, _ = outputs.shape
        if frames is None:
            mask = torch.ones(count, columns, dtype=torch.bool, device=outputs.device)
            return AudioTokens(outputs, mask, grid)
        if frames.shape != (count,):
            raise ValueError(f"expected frames [{count}], got {tuple(frames.shape)}")
        cells, row = grid or (columns, 1)
        # The small term keeps an exact quotient from being rounded up.
        valid = torch.ceil(frames.cpu() / per_cell - 1e-6).clamp(1, cells).long() * row
        mask = torch.arange(columns) < valid[:, None]
        return AudioTokens(outputs, mask.to(outputs.device), grid, valid)


#: Between an encoder's name and the index of one of its hidden states.
_STATE = "@"


def outputs_of(name: str, hidden_states: Sequence[int] | None) -> list[str]:
    """What connectors call an encoder's tokens: its name, or `NAME@2`, `NAME@4` by hidden state."""
    return [name] if hidden_states is None else [f"{name}{_STATE}{i}" for i in hidden_states]


def encoder_of(output: str) -> str:
    """The encoder that gives an output."""
    return output.partition(_STATE)[0]


def by_output(name: str, encoder: AudioEncoder, tokens: AudioTokens) -> dict[str, AudioTokens]:
    """An encoder's tokens `[W, N, k D]` by the names of `outputs_of`."""
    names = outputs_of(name, encoder.hidden_states)
    parts = tokens.features.split(tokens.features.shape[2] // len(names), dim=2)
    return {n: replace(tokens, features=f) for n, f in zip(names, parts, strict=True)}
