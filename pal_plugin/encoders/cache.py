"""What a frozen encoder made of a clip is kept, and the next epoch, run or stage reads it.

Design choice: everything that the states depend on besides the clip is hashed into the name of a
folder (`space`): the encoder with every parameter and buffer, its front end, the precision, the
versions of what computes. The clip is the key within it, so data workers, who have its bytes at
hand, look it up and hand on states in place of features; the model encodes the others and stores
them. A batch looks the same either way: what follows the encoder does not know of the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pal_plugin.audio.features import AudioFeatures
from pal_plugin.encoders.base import AudioEncoder
from pal_plugin.encoders.cache_shards import ClipStates, ShardWriter, StateShards, bytes_below
from pal_plugin.types import AudioTokens
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import cache_folder
from pal_plugin.utils.sharding import whole
from pal_plugin.utils.spelling import reject_unknown
from pal_plugin.version import __version__

#: What computes: front ends and encoders (their code included), decoder, resampler.
_PACKAGES = ("torch", "torchaudio", "transformers", "timm", "av")
_HALF_MAX = torch.finfo(torch.float16).max
_PLAIN = int | float | str | bool | tuple | None
#: Attributes and settings that no state depends on.
_NO_MATTER = ("training", "name_or_path", "transformers_version", "architectures", "dtype")


@dataclass(frozen=True)
class CacheSettings:
    """`model.encoders.NAME.cache`, where it is not just `true`.

    Args:
        dtype: "half", to store the states as float16; None stores them as the encoder gives them.
        variants: of augmented clips, how many fixed variants of each there are.
        limit_gb: largest size of all shards in `folder`, in units of 10**9 bytes.
        folder: where they are; None: `encoder_states` in the cache folder (`utils.locations`).

    Raises:
        ValueError: another dtype, or numbers that are not positive.
    """

    dtype: str | None = None
    variants: int | None = None
    limit_gb: float = 100.0
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (None, "half"):
            raise ValueError(f"cache.dtype is {self.dtype!r}; expected half, or null")
        whole_number = isinstance(self.variants, int) and not isinstance(self.variants, bool)
        if self.variants is not None and (not whole_number or self.variants < 1):
            raise ValueError(f"cache.variants is {self.variants!r}; expected 1 or more, or null")
        number = isinstance(self.limit_gb, int | float) and not isinstance(self.limit_gb, bool)
        if not number or not self.limit_gb > 0:
            raise ValueError(f"cache.limit_gb is {self.limit_gb!r}; expected a positive number")

    @classmethod
    def of(cls, entry: Mapping[str, Any], name: str) -> CacheSettings | None:
        """Those of one of `model.encoders`; None where nothing is kept.

        Raises:
            ValueError: names the encoder and what cannot be used.
        """
        given = entry.get("cache")
        if given is None or given is False:
            return None
        given = {} if given is True else given
        if not isinstance(given, Mapping):
            raise ValueError(
                f"encoder {name!r}: cache is {given!r}; expected true, false, or settings "
                f"({', '.join(field.name for field in fields(cls))})"
            )
        reject_unknown(given, (field.name for field in fields(cls)), f"encoder {name!r}, cache")
        try:
            return cls(**given)
        except ValueError as error:
            raise ValueError(f"encoder {name!r}: {error}") from error

    @property
    def root(self) -> Path:
        """The folder of all shards."""
        return Path(self.folder).expanduser() if self.folder else cache_folder() / "encoder_states"


class EncoderCache:
    """The states of one encoder.

    Args:
        name: the encoder's, for messages.
        settings: of its cache.

    Attributes:
        shards: what is there; None until `open`.
        part: `(number, of)`: where so many processes hear the same clips, each stores a part.
    """

    part: tuple[int, int] = (0, 1)

    def __init__(self, name: str, settings: CacheSettings) -> None:
        self.name, self.settings = name, settings
        self.shards: StateShards | None = None
        self._writer: ShardWriter | None = None
        self._stamp: tuple | None = None
        self._space = ""
        self._features: AudioFeatures | None = None
        self._window: AudioTokens | None = None

    def open(
        self, encoder: AudioEncoder, features: AudioFeatures, *, sizes_only: bool = False
    ) -> StateShards:
        """Look what is there, under the autocast in which the encoder will be called.

        Args:
            features: its front end.
            sizes_only: as of `StateShards`, for who only fills the cache.

        Raises:
            ConfigError: the encoder is trained.
        """
        self._features = features
        silence = features(torch.zeros(features.window_samples))
        with torch.no_grad():
            self._window = _encoded(encoder, silence)
        space = self.space(encoder)
        folder = self.settings.root / f"{type(encoder).__name__.lower()}-{space[:24]}"
        self.shards = StateShards(folder, space, sizes_only=sizes_only)
        self._writer = ShardWriter(self.shards, self.settings.root, self.settings.limit_gb * 1e9)
        return self.shards

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's states."""
        return self._window.features.shape[2] * self._dtype.itemsize

    @property
    def window_bytes(self) -> int:
        """Bytes of one whole window's states."""
        return self._window.features.shape[1] * self.token_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of all shards in its folder, those of other encoders too."""
        return bytes_below(self.settings.root)

    def flush(self) -> None:
        """Write what waits to be stored."""
        if self._writer is not None:
            self._writer.flush()

    def space(self, encoder: AudioEncoder) -> str:
        """SHA-256 of all that the states depend on besides the clip.

        Computed anew when a tensor or the precision was changed; changes through `.data` go
        unnoticed by torch, and here.

        Raises:
            ConfigError: the encoder is trained.
        """
        self._refuse_trained(encoder)
        tensors = dict(_tensors(encoder))
        stamp = (
            _precision(next(iter(tensors.values())).device.type),
            tuple((id(t), t._version) for t in tensors.values()),
        )
        if stamp != self._stamp:
            self._stamp = stamp
            settings = {
                "precision": stamp[0],
                "stored as": self.settings.dtype,
                "encoder": _settings_of(encoder),
                "front end": settings_of(self._features),
                "versions": versions(),
            }
            digest = hashlib.sha256(json.dumps(settings, default=str, sort_keys=True).encode())
            for name, tensor in tensors.items():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                flat = whole(tensor.detach()).cpu().contiguous().view(-1)
                digest.update(flat.view(torch.uint8).numpy())
            self._space = digest.hexdigest()
        return self._space

    def __call__(self, encoder: AudioEncoder, entry: Mapping[str, Any]) -> AudioTokens:
        """The states of a batch: those that are known are read, the others encoded and stored.

        Args:
            entry: of this encoder, as `AudioFrontend.collate` gives it.

        Returns:
            AudioTokens as of the encoder itself, in the clips' order. Tokens behind the end of a
            known clip are zero.

        Raises:
            ConfigError: the encoder was changed since the known states were looked up, or half
                precision cannot hold its states.
        """
        if "keys" not in entry:  # of a data set, or a caller, that knows nothing of the cache
            return _encoded(encoder, entry)
        space = self.space(encoder)
        if space != self.shards.space:
            raise ConfigError(
                f"encoder {self.name!r}: its weights, settings or precision have changed since its "
                "cache was opened; start anew"
            )
        if not any(entry["keys"]):
            return self._known(entry)
        made = self.fill(encoder, entry)
        if all(entry["keys"]):
            return made
        known = self._known(entry)
        rows = ~_rows_unknown(entry)
        order = torch.empty(len(rows), dtype=torch.long)
        order[rows] = torch.arange(int(rows.sum()))
        order[~rows] = torch.arange(int(rows.sum()), len(rows))
        both = AudioTokens(
            torch.cat([known.features, made.features.to(known.features.dtype)]),
            torch.cat([known.mask, made.mask]),
            made.grid,
            torch.cat([known.lengths, made.lengths]),
        )
        return both.select(order)

    def fill(self, encoder: AudioEncoder, entry: Mapping[str, Any]) -> AudioTokens:
        """Encode and store the clips of a batch that are not known; their states alone."""
        frames = entry["frames"][_rows_unknown(entry)]
        counts = [n for n, key in zip(entry["windows"].tolist(), entry["keys"], strict=True) if key]
        tokens = _encoded(encoder, {"features": entry["features"], "frames": frames})
        valid = tokens.lengths
        states = tokens.features.detach()[tokens.mask]
        if self.settings.dtype == "half":
            self._check_fits(states)
            rounded = tokens.features.to(torch.float16).to(tokens.features.dtype)
            tokens = replace(tokens, features=rounded)  # as it is read later
        states = states.to("cpu", self._dtype)
        by_clip = valid.split(counts)
        clips = map(
            ClipStates,
            states.split([int(part.sum()) for part in by_clip]),
            by_clip,
            frames.split(counts),
        )
        number, parts = self.part
        for key, clip in zip(filter(None, entry["keys"]), clips, strict=True):
            mine = int(key, 16) % parts == number
            if mine and torch.isfinite(clip.states).all():  # what is not is the trainer's to find
                self._writer.add(key, clip)
        return tokens

    def _known(self, entry: Mapping[str, Any]) -> AudioTokens:
        """Of the clips that are known, rows of all tokens of a window, zero behind the end."""
        like = self._window.features
        states = entry["states"].to(like.device, like.dtype)
        mask = _first(entry["valid"], like.shape[1]).to(like.device)
        features = like.new_zeros(len(mask), *like.shape[1:])
        features = features.masked_scatter(mask[..., None], states)
        return AudioTokens(features, mask, self._window.grid, entry["valid"])

    @property
    def _dtype(self) -> torch.dtype:
        half = self.settings.dtype == "half"
        return torch.float16 if half else self._window.features.dtype

    def _check_fits(self, states: Tensor) -> None:
        finite = torch.isfinite(states)
        largest = float(states.abs().masked_fill(~finite, 0).max())
        if largest > _HALF_MAX:
            raise ConfigError(
                f"model.encoders.{self.name}.cache.dtype=half: a state is {largest:.3g}, and half "
                f"precision ends at {_HALF_MAX:.0f}; leave dtype out"
            )

    def _refuse_trained(self, encoder: nn.Module) -> None:
        trained = [n for n, p in encoder.named_parameters() if p.requires_grad]
        changing = [
            f"{n or type(encoder).__name__} ({type(m).__name__})"
            for n, m in encoder.named_modules()
            if m.training
        ]
        what = f"its parameters are trained: {trained[0]}" if trained else ""
        if not what and changing:
            norms = [name for name in changing if "BatchNorm" in name]
            what = f"it is in training mode: {(norms or changing)[0]}"
        if what:
            raise ConfigError(
                f"model.encoders.{self.name}.cache is for a frozen encoder, and {what}, ...; its "
                "states change from step to step. Leave cache out, or freeze it "
                "(model.stage.encoders=frozen)"
            )


def hear(
    encoders: Mapping[str, AudioEncoder],
    caches: Mapping[str, EncoderCache],
    audio: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, AudioTokens]]:
    """`(name, tokens of the batch)` of each encoder, read where they are kept.

    Args:
        audio: what `AudioFrontend.collate` gave.

    Raises:
        ValueError: an encoder without features.
    """
    for name, encoder in encoders.items():
        if name not in audio:
            raise ValueError(f"no features for encoder {name!r}; got {sorted(audio)}")
        cache = caches.get(name)
        yield name, cache(encoder, audio[name]) if cache else _encoded(encoder, audio[name])


def settings_of(features: AudioFeatures) -> dict[str, Any]:
    """Everything that a front end was set to."""
    return {"type": type(features).__name__, **_plain(vars(features))}


def _encoded(encoder: AudioEncoder, entry: Mapping[str, Any]) -> AudioTokens:
    device = next(encoder.parameters()).device
    return encoder(entry["features"].to(device), entry["frames"])


def _rows_unknown(entry: Mapping[str, Any]) -> Tensor:
    """Bool `[sum W]` on the CPU: the windows of clips that are not known."""
    unknown = torch.tensor([bool(key) for key in entry["keys"]])
    return unknown.repeat_interleave(entry["windows"])


def _first(counts: Tensor, length: int) -> Tensor:
    """Bool `[W, length]`: the first so many of each row."""
    return torch.arange(length, device=counts.device) < counts[:, None]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _precision(device_type: str) -> list[str]:
    """Autocast as it is now, and the precision of float32 products."""
    on = torch.is_autocast_enabled(device_type)
    autocast = str(torch.get_autocast_dtype(device_type)) if on else "none"
    return [autocast, torch.get_float32_matmul_precision()]


def _settings_of(encoder: nn.Module) -> list:
    """What its modules are and are set to: heads, activations, the layer that is given, ..."""
    found = [
        [name, type(module).__name__, _plain(vars(module))]
        for name, module in encoder.named_modules()
    ]
    configs = {id(m.config): m.config for m in encoder.modules() if hasattr(m, "config")}
    return [*found, *(_that_matter(config.to_dict()) for config in configs.values())]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return _that_matter({k: v for k, v in values.items() if isinstance(v, _PLAIN)})


def _that_matter(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if not k.startswith("_") and k not in _NO_MATTER}


@lru_cache(maxsize=1)
def versions() -> dict[str, str | None]:
    """Of whatever states are computed by, decoder and resampler included; None: not installed."""
    import soundfile  # as where files are decoded

    found = {"pal_plugin": __version__, "libsndfile": soundfile.__libsndfile_version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
