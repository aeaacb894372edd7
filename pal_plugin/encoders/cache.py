"""Cache of a frozen encoder's hidden states, reused across epochs, runs and stages.

Design choice: everything that the states depend on besides the clip is hashed into a folder name
(`space`): the encoder with all parameters and buffers, its front end, the precision, library
versions. The clip's content hash is the key within it. DataLoader workers look clips up and pass on
states instead of features; the model encodes and stores the rest. Either way the encoder's
consumers get the same tokens.
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

#: Packages that affect the states: front ends and encoders, decoder, resampler.
_PACKAGES = ("torch", "torchaudio", "transformers", "timm", "av")
_HALF_MAX = torch.finfo(torch.float16).max
_PLAIN = int | float | str | bool | tuple | None
#: Attributes and settings that do not affect the states.
_NO_MATTER = ("training", "name_or_path", "transformers_version", "architectures", "dtype")


@dataclass(frozen=True)
class CacheSettings:
    """`model.encoders.NAME.cache`, if it is not just `true`.

    Args:
        dtype: "half" stores states as float16; None in the encoder's output dtype.
        variants: number of fixed augmentation variants per clip.
        limit_gb: maximum total size of the shards in `folder`, in GB (10**9 bytes).
        folder: folder of the shards; None: `encoder_states` in the cache folder
            (`utils.locations`).

    Raises:
        ValueError: if a value is invalid.
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
        """The settings of an entry of `model.encoders`; None if caching is off.

        Raises:
            ValueError: if a setting is invalid; names the encoder.
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
        """The root folder of all shards."""
        return Path(self.folder).expanduser() if self.folder else cache_folder() / "encoder_states"


class EncoderCache:
    """The cached states of one encoder.

    Args:
        name: the encoder's name, for messages.
        settings: the cache settings.

    Attributes:
        shards: the shards; None until `open`.
        part: `(index, count)`: if several processes see the same clips, each stores its part.
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
        """Opens the shards; call under the autocast context that the encoder will run in.

        Args:
            features: the encoder's front end.
            sizes_only: see `StateShards`, for callers that only fill the cache.

        Raises:
            ConfigError: if the encoder is trainable.
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
        """Size of one token's states in bytes."""
        return self._window.features.shape[2] * self._dtype.itemsize

    @property
    def window_bytes(self) -> int:
        """Size of one full window's states in bytes."""
        return self._window.features.shape[1] * self.token_bytes

    @property
    def used_bytes(self) -> int:
        """Total size in bytes of all shards in the root folder, including other encoders'."""
        return bytes_below(self.settings.root)

    def flush(self) -> None:
        """Writes pending clips."""
        if self._writer is not None:
            self._writer.flush()

    def space(self, encoder: AudioEncoder) -> str:
        """SHA-256 of everything that the states depend on besides the clip.

        Recomputed when a tensor or the precision changes; changes through `.data` are not detected,
        by torch either.

        Raises:
            ConfigError: if the encoder is trainable.
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
        """The tokens of a batch: reads cached states, encodes and stores the others.

        Args:
            entry: the encoder's entry of a batch from `AudioFrontend.collate`.

        Returns:
            AudioTokens as the encoder returns them, in batch order; padding tokens of cached clips
            are zero.

        Raises:
            ConfigError: if the encoder has changed since the states were looked up, or its states
                overflow half precision.
        """
        if "keys" not in entry:  # from a dataset or caller without cache support
            return _encoded(encoder, entry)
        space = self.space(encoder)
        if space != self.shards.space:
            raise ConfigError(
                f"encoder {self.name!r}: weights, settings or precision have changed since its "
                "cache was opened; restart"
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
        """Encodes and stores the uncached clips of a batch; returns only their tokens."""
        frames = entry["frames"][_rows_unknown(entry)]
        counts = [n for n, key in zip(entry["windows"].tolist(), entry["keys"], strict=True) if key]
        tokens = _encoded(encoder, {"features": entry["features"], "frames": frames})
        valid = tokens.lengths
        states = tokens.features.detach()[tokens.mask]
        if self.settings.dtype == "half":
            self._check_fits(states)
            rounded = tokens.features.to(torch.float16).to(tokens.features.dtype)
            tokens = replace(tokens, features=rounded)  # as read back later
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
            if mine and torch.isfinite(clip.states).all():  # the trainer reports non-finite ones
                self._writer.add(key, clip)
        return tokens

    def _known(self, entry: Mapping[str, Any]) -> AudioTokens:
        """Tokens of the cached clips `[windows, N, D]`, zero after a window's valid tokens."""
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
                f"model.encoders.{self.name}.cache.dtype=half: a state is {largest:.3g}, over half "
                f"precision's maximum of {_HALF_MAX:.0f}; remove dtype"
            )

    def _refuse_trained(self, encoder: nn.Module) -> None:
        trained = [n for n, p in encoder.named_parameters() if p.requires_grad]
        changing = [
            f"{n or type(encoder).__name__} ({type(m).__name__})"
            for n, m in encoder.named_modules()
            if m.training
        ]
        what = f"its parameters are trainable: {trained[0]}" if trained else ""
        if not what and changing:
            norms = [name for name in changing if "BatchNorm" in name]
            what = f"it is in training mode: {(norms or changing)[0]}"
        if what:
            raise ConfigError(
                f"model.encoders.{self.name}.cache needs a frozen encoder, but {what}, ...; its "
                "states would change from step to step. Remove cache, or freeze the encoder "
                "(model.stage.encoders=frozen)"
            )


def encode_audio(
    encoders: Mapping[str, AudioEncoder],
    caches: Mapping[str, EncoderCache],
    audio: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, AudioTokens]]:
    """Yields `(encoder name, tokens of the batch)`, from the cache where there is one.

    Args:
        audio: the output of `AudioFrontend.collate`.

    Raises:
        ValueError: if features of an encoder are missing.
    """
    for name, encoder in encoders.items():
        if name not in audio:
            raise ValueError(f"no features for encoder {name!r}; got {sorted(audio)}")
        cache = caches.get(name)
        yield name, cache(encoder, audio[name]) if cache else _encoded(encoder, audio[name])


def settings_of(features: AudioFeatures) -> dict[str, Any]:
    """All settings of a front end."""
    return {"type": type(features).__name__, **_plain(vars(features))}


def _encoded(encoder: AudioEncoder, entry: Mapping[str, Any]) -> AudioTokens:
    device = next(encoder.parameters()).device
    return encoder(entry["features"].to(device), entry["frames"])


def _rows_unknown(entry: Mapping[str, Any]) -> Tensor:
    """Bool `[sum W]` on the CPU: windows of clips that are not cached."""
    unknown = torch.tensor([bool(key) for key in entry["keys"]])
    return unknown.repeat_interleave(entry["windows"])


def _first(counts: Tensor, length: int) -> Tensor:
    """Mask, bool `[W, length]`: True for the first `counts` of each row."""
    return torch.arange(length, device=counts.device) < counts[:, None]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _precision(device_type: str) -> list[str]:
    """The current autocast dtype, and the precision of float32 matmuls."""
    on = torch.is_autocast_enabled(device_type)
    autocast = str(torch.get_autocast_dtype(device_type)) if on else "none"
    return [autocast, torch.get_float32_matmul_precision()]


def _settings_of(encoder: nn.Module) -> list:
    """Types and settings of all modules: heads, activations, selected layers, ..."""
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
    """Versions of everything that affects the states; None: not installed."""
    import soundfile  # lazy, as in audio decoding

    found = {"pal_plugin": __version__, "libsndfile": soundfile.__libsndfile_version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
