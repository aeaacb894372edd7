"""The encoder interface: a log-mel front end and a module that returns AudioTokens.

Design choice: an encoder's `state_dict` uses the key names of a public checkpoint layout, so
checkpoints are interchangeable with other libraries.
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
    """Base class of the encoders.

    Attributes:
        width: token dimension D.
        window_s: window length in seconds.
        grid: `(time cells, frequency cells)` of a window, or None for a plain sequence.
        n_mels: expected number of mel bins, or None if fixed.
        arguments: constructor arguments that `from_checkpoint` used, including sizes read from a
            folder; empty if constructed directly.
        Features: the AudioFeatures class of this encoder's input.
        defaults: default values of arguments that a checkpoint does not set.
        hidden_states: indices of the hidden states it outputs (`select_hidden_states`); None: the
            final output.
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
        """The layers, all of one width and grid. Raises ValueError if there is no such list."""
        raise ValueError(
            f"hidden_states is not available for {type(self).__name__}: its layers differ in size"
        )

    @property
    def span_s(self) -> float:
        """Seconds from the first time row (or token) of a window to the end of its last: the
        window length, unless frames are dropped or padded."""
        return self.window_s

    def forward(self, features: Tensor, frames: Tensor | None = None) -> AudioTokens:
        """Encodes windows into tokens.

        Args:
            features: `[W, ...]`, see the subclass.
            frames: valid frames per window, long `[W]`; None: all.

        Returns:
            AudioTokens with W rows. The mask is False after the clip's end; each row has at least
            one valid cell.
        """
        raise NotImplementedError

    def check(self, features: AudioFeatures) -> None:
        """Raises ValueError if `features` do not match this encoder's input."""
        made = getattr(features, "n_mels", None)
        if self.n_mels is not None and made is not None and self.n_mels != made:
            raise ValueError(
                f"encoder expects {self.n_mels} mels, its features have {made}; "
                f"set features: {{n_mels: {self.n_mels}}}"
            )
        if abs(self.window_s - features.window_s) > 1e-6:
            raise ValueError(
                f"encoder windows are {self.window_s} s, those of its features "
                f"{features.window_s} s; set window_s once, under features"
            )

    def select_hidden_states(self, hidden_states: Sequence[int]) -> None:
        """Outputs hidden states instead of the final output, concatenated to `[W, N, k D]`.

        Args:
            hidden_states: increasing indices; 0 is the input of the first layer, i the output of
                layer i, before any final norm. Layers after the last one needed are removed.

        Raises:
            ValueError: if the indices are empty, repeated or out of range, or layers differ in
                size.
        """
        chosen, blocks = list(hidden_states), self.stack
        if (
            not chosen
            or chosen != sorted(set(chosen))
            or not 0 <= chosen[0] <= chosen[-1] <= len(blocks)
        ):
            raise ValueError(
                f"hidden_states is {chosen}; expected increasing indices from 0 (before the first "
                f"layer) to {len(blocks)} (after the last one)"
            )
        del blocks[max(1, chosen[-1]) :]
        self.hidden_states = tuple(chosen)

    def chosen(self, run: Callable[[], Tensor]) -> Tensor:
        """Calls `run`; returns its output `[W, S, D]` or the chosen hidden states `[W, S, k D]`."""
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
        """Constructor arguments stored with the checkpoint at `path`; empty unless overridden.

        Reads no weights, so planning and training derive sizes in the same way.
        """
        return {}

    @classmethod
    def arguments_for(
        cls, stored: Mapping[str, Any], given: Mapping[str, Any], source: str | Path
    ) -> dict[str, Any]:
        """Merges stored and configured constructor arguments.

        Args:
            stored: arguments stored with the checkpoint, see `sizes_of`.
            given: arguments from the configuration.
            source: the checkpoint, for messages.

        Raises:
            ValueError: if a configured size contradicts the checkpoint's (dropout rates are
                exempt).
        """
        given = {name: value for name, value in given.items() if value is not None}
        differ = [
            f"{name} {value}, not {given[name]}"
            for name, value in stored.items()
            if name in given and given[name] != value and "drop" not in name
        ]
        if differ:
            raise ValueError(
                f"the checkpoint {source} has {', '.join(differ)}; remove these from the "
                "encoder's settings (model: null removes all)"
            )
        set_by_file = {
            k: v for k, v in stored.items() if k not in cls.defaults or v != cls.defaults[k]
        }
        return {**set_by_file, **given}

    @classmethod
    def from_checkpoint(cls, path: str | Path, **model) -> AudioEncoder:
        """Builds the encoder with `model` as arguments and loads `path`; see the subclass."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> AudioEncoder:
        """As `nn.Module.train`, but an encoder without trainable parameters stays in eval mode, so
        that a frozen encoder's output does not change (no dropout, no BatchNorm updates)."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def as_input(self, features: Tensor, dims: int, expected: str) -> Tensor:
        """Checks the number of dimensions of features [B, ...] and casts to the weights' dtype."""
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
        """Wraps outputs as tokens, of which the first ceil(frames / per_cell) cells (min. 1) are
        valid.

        Args:
            outputs: `[W, N, D]`, time-major if there is a grid.
            frames: valid frames per window, long `[W]`; None: all cells are valid. Kept on the CPU,
                which avoids a device synchronization.
            per_cell: feature frames per time cell.
            grid: `(time cells, frequency cells)`, with product N.
        """
        count, columns, _ = outputs.shape
        if frames is None:
            mask = torch.ones(count, columns, dtype=torch.bool, device=outputs.device)
            return AudioTokens(outputs, mask, grid)
        if frames.shape != (count,):
            raise ValueError(f"expected frames [{count}], got {tuple(frames.shape)}")
        cells, row = grid or (columns, 1)
        # The epsilon keeps an exact quotient from being rounded up.
        valid = torch.ceil(frames.cpu() / per_cell - 1e-6).clamp(1, cells).long() * row
        mask = torch.arange(columns) < valid[:, None]
        return AudioTokens(outputs, mask.to(outputs.device), grid, valid)


#: Separates an encoder's name and a hidden state's index.
_STATE = "@"


def outputs_of(name: str, hidden_states: Sequence[int] | None) -> list[str]:
    """Names of an encoder's outputs: its name, or `NAME@2`, `NAME@4` per hidden state."""
    return [name] if hidden_states is None else [f"{name}{_STATE}{i}" for i in hidden_states]


def encoder_of(output: str) -> str:
    """The name of the encoder of an output."""
    return output.partition(_STATE)[0]


def by_output(name: str, encoder: AudioEncoder, tokens: AudioTokens) -> dict[str, AudioTokens]:
    """Splits an encoder's tokens `[W, N, k D]` by output name, see `outputs_of`."""
    names = outputs_of(name, encoder.hidden_states)
    parts = tokens.features.split(tokens.features.shape[2] // len(names), dim=2)
    return {n: replace(tokens, features=f) for n, f in zip(names, parts, strict=True)}
