"""Audio encoders by name, and the builders of encoders and front ends."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.encoders.ast import AST
from pal_plugin.encoders.base import AudioEncoder, AudioFeatures
from pal_plugin.encoders.clap import CLAP
from pal_plugin.encoders.sslam import SSLAM
from pal_plugin.encoders.whisper import Whisper
from pal_plugin.encoders.xares import Xares
from pal_plugin.utils.errors import SIZES_DO_NOT_FIT
from pal_plugin.utils.spelling import reject_unknown

ENCODERS: dict[str, type[AudioEncoder]] = {
    "ast": AST,
    "clap": CLAP,
    "sslam": SSLAM,
    "whisper": Whisper,
    "xares": Xares,
}

__all__ = [
    "AST",
    "CLAP",
    "ENCODERS",
    "SSLAM",
    "AudioEncoder",
    "AudioFeatures",
    "Whisper",
    "Xares",
    "arguments_of",
    "build_encoder",
    "build_features",
    "encoder_settings",
]


def _encoder_class(type: str) -> type[AudioEncoder]:
    reject_unknown([type], ENCODERS, "encoder type")
    return ENCODERS[type]


def arguments_of(cls: type) -> list[str]:
    """Constructor arguments of an encoder or front-end class."""
    parameters = inspect.signature(cls).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    return named + list(getattr(cls, "extra_arguments", ()))


def encoder_settings(
    type: str, model: dict[str, Any] | None = None, features: dict[str, Any] | None = None
) -> tuple[type[AudioEncoder], dict[str, Any]]:
    """The class and constructor arguments of an encoder; see `build_encoder`.

    Raises:
        ValueError: if the type or an argument is unknown.
    """
    cls, model = _encoder_class(type), dict(model or {})
    if features and "window_s" in features:
        model.setdefault("window_s", features["window_s"])
    reject_unknown(model, arguments_of(cls), f"model settings of encoder {type!r}")
    return cls, model


def build_encoder(
    type: str,
    model: dict[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    features: dict[str, Any] | None = None,
    hidden_states: Sequence[int] | None = None,
) -> AudioEncoder:
    """Builds an encoder, randomly initialized or from `checkpoint`.

    Args:
        type: a key of ENCODERS.
        model: constructor arguments of the encoder class.
        checkpoint: a file, a folder or a Hugging Face Hub id; see the class's `from_checkpoint`.
        features: constructor arguments of its front end; their `window_s` also applies to the
            encoder unless `model` sets it.
        hidden_states: indices of hidden states to output (`AudioEncoder.select_hidden_states`);
            None: the final output.

    Raises:
        ValueError: if the type or an argument is unknown, the checkpoint or the hidden states do
            not match the encoder, or the features do not match its input (mels, seconds, frames).
        HubError: if the files of a Hub id cannot be downloaded.
    """
    cls, model = encoder_settings(type, model, features)
    try:
        encoder = cls.from_checkpoint(checkpoint, **model) if checkpoint else cls(**model)
        encoder.check(build_features(type, features))
        if hidden_states is not None:
            encoder.select_hidden_states(hidden_states)
    except ValueError as error:
        raise ValueError(f"encoder {type!r}: {error}") from error
    except SIZES_DO_NOT_FIT as error:
        raise ValueError(f"cannot build encoder {type!r} with {model}: {error}") from error
    return encoder


def build_features(type: str, features: dict[str, Any] | None = None) -> AudioFeatures:
    """Builds the front end of an encoder.

    Raises:
        ValueError: if the type or an argument is unknown.
    """
    cls = _encoder_class(type).Features
    features = dict(features or {})
    reject_unknown(features, arguments_of(cls), f"features of encoder {type!r}")
    return cls(**features)
