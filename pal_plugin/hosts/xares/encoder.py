"""`PalEncoder`: an encoder of this package with XARES-LLM's contract (arXiv 2603.22728).

`python -m xares_llm.run pal_plugin.hosts.xares.encoder.PalEncoder --model_args '{"of": "small"}'`

Design choice: the mask cuts clips to their own length, and `AudioFrontend` makes the features of
each, as in training, so they do not depend on the padding of a batch.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

# XARES-LLM takes a file's only name that ends with "Encoder", so this module has one.
from pal_plugin import encoders
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.build import build_encoders
from pal_plugin.models.opening import open_model
from pal_plugin.models.windows import joinable, merge_windows, overlap_of
from pal_plugin.utils.spelling import reject_unknown

#: What happens to the frequency cells of a time step.
CELLS = ("all", "mean")
KEYS = ("type", "features", "model", "checkpoint", "hidden_states")


class PalEncoder(nn.Module):
    """An encoder of this package: of a model, or built from an entry of `model.encoders`.

    Args:
        of: a model, as for `pal serve --model`: a type, a run folder, a saved folder, owner/name.
        name: which of its encoders; None: its only one.
        rate_hz: sampling rate of the audio that it gets; 16000 in XARES-LLM. It is resampled to the
            encoder's own.
        cells: of an encoder with a time-frequency grid (SSLAM, CLAP, AST): "all", a token for each
            cell, or "mean", one for each time step, the mean over frequencies.
        entry: in place of `of`, the keys of an entry: `type`, `features`, `model`, `checkpoint`,
            `hidden_states`.

    Attributes:
        output_dim: size D of the features; of several hidden states, of all together.

    Raises:
        ValueError: if both or neither are given, or the name, a key or a value is unknown.
    """

    def __init__(
        self,
        of: str | None = None,
        name: str | None = None,
        rate_hz: int = 16000,
        cells: str = "all",
        **entry: Any,
    ) -> None:
        super().__init__()
        if cells not in CELLS:
            raise ValueError(f"cells is {cells!r}; expected {' or '.join(CELLS)}")
        if (of is None) == (not entry):
            raise ValueError(
                f"got of={of!r} and {sorted(entry) or 'no entry'}; expected a model as `of`, or an "
                "entry of model.encoders with its type"
            )
        if of is None:
            reject_unknown(entry, KEYS, "PalEncoder")
            self._name = name or "encoder"
            self.frontend = AudioFrontend({self._name: entry})
            encoder = build_encoders({self._name: entry})[self._name]
        else:
            self._name, encoder, self.frontend = chosen(of, name)
        self.encoder = encoder.requires_grad_(False).eval()  # it then stays in eval mode
        states = self.encoder.hidden_states
        self.rate_hz, self.cells = rate_hz, cells
        self.output_dim = self.encoder.width * (1 if states is None else len(states))

    def forward(
        self, audio: Tensor, audio_attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Clips `[B, S]` -> features `[B, N, D]` and their mask, long `[B, N]`, 1 within the clip.

        Args:
            audio: waveforms, padded at their ends.
            audio_attention_mask: `[B, S]`, 1 within the clip; None: all of it.

        Raises:
            ValueError: if shapes do not match, or the mask is not ones and then zeros.
            AudioError: if samples cannot be used, such as NaN.
        """
        lengths = lengths_of(audio, audio_attention_mask)
        clips = [(clip[:n].float(), self.rate_hz) for clip, n in zip(audio, lengths, strict=True)]
        entry = self.frontend.joined({"audio": clips})[self._name]
        tokens = self.encoder(entry["features"].to(audio.device), entry["frames"])
        features = self.frontend.features[self._name]
        overlap = overlap_of(nn.Identity(), [self.encoder], [features], tokens)
        if overlap is not None:
            tokens = joinable(tokens, entry["windows"])
        merged = merge_windows(tokens, entry["windows"], overlap)
        if self.cells == "mean" and merged.grid is not None:
            return merged.cells().mean(2), merged.mask.unflatten(1, merged.grid).any(2).long()
        return merged.features, merged.mask.long()


def chosen(of: str, name: str | None) -> tuple[str, encoders.AudioEncoder, AudioFrontend]:
    """Name, encoder and front end of a model's encoder.

    Raises:
        ValueError: if the model has none of this name, or several and none is named.
    """
    model = open_model(of)
    known = dict(model.encoders)
    if name is None and len(known) > 1:
        raise ValueError(f"{of} has the encoders {', '.join(known)}; choose one with `name`")
    name = name or next(iter(known))
    reject_unknown([name], known, f"encoder of {of}")
    frontend = copy.copy(model.frontend)
    frontend.features = {name: model.frontend.features[name]}
    frontend.look_in({})
    return name, known[name], frontend


def lengths_of(audio: Tensor, mask: Tensor | None) -> list[int]:
    """Samples of each clip `[S]` of `audio` `[B, S]`.

    Raises:
        ValueError: as `PalEncoder.forward`.
    """
    if audio.dim() != 2 or not audio.is_floating_point() or not audio.numel():
        raise ValueError(
            f"audio is {audio.dtype} {tuple(audio.shape)}; expected floating-point [B, S]"
        )
    count, samples = audio.shape
    if mask is None:
        return [samples] * count
    if mask.shape != audio.shape:
        raise ValueError(
            f"audio_attention_mask is {tuple(mask.shape)}; expected {tuple(audio.shape)}"
        )
    lengths = mask.sum(1).long()
    expected = torch.arange(samples, device=mask.device) < lengths[:, None]
    if not torch.equal(mask, expected.to(mask.dtype)) or not bool(lengths.all()):
        raise ValueError(
            "audio_attention_mask must be ones and then zeros in each row, with at least one 1; "
            f"its sums are {lengths.tolist()}"
        )
    return lengths.tolist()
