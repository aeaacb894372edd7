"""The audio encoders by name, and the two builders that turn configuration into objects."""

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
from pal_plugin.utils.errors import SIZES_DO_NOT_FIT
from pal_plugin.utils.spelling import reject_unknown

ENCODERS: dict[str, type[AudioEncoder]] = {
    "ast": AST,
    "clap": CLAP,
    "sslam": SSLAM,
    "whisper": Whisper,
}

__all__ = [
    "AST",
    "CLAP",
    "ENCODERS",
    "SSLAM",
    "AudioEncoder",
    "AudioFeatures",
    "Whisper",
    "arguments_of",
    "build_encoder",
    "build_features",
    "encoder_settings",
]


def _encoder_class(type: str) -> type[AudioEncoder]:
    reject_unknown([type], ENCODERS, "encoder type")
    return ENCODERS[type]


def arguments_of(cls: type) -> list[str]:
    """Names of what an encoder's or a front end's class takes."""
    parameters = inspect.signature(cls).parameters.values()
    named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    return named + list(getattr(cls, "extra_arguments", ()))


def encoder_settings(
    type: str, model: dict[str, Any] | None = None, features: dict[str, Any] | None = None
) -> tuple[type[AudioEncoder], dict[str, Any]]:
    """The class of an encoder and what it is given; see `build_encoder`.

    Raises:
        ValueError: unknown type or argument.
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
    """Build an encoder with random weights, or with those of `checkpoint`.

    Args:
        type: a key of ENCODERS.
        model: arguments of the encoder's class.
        checkpoint: a file, a folder or an id of the Hugging Face hub, as `from_checkpoint` of the
            class reads it.
        features: arguments of the encoder's features; their `window_s` is the encoder's too
            where `model` does not give one.
        hidden_states: which of them it gives (`AudioEncoder.give`); None: its output.

    Raises:
        ValueError: unknown type or argument, a checkpoint that does not fit, hidden states that it
            does not have, or features that make another input than it reads (mels, seconds,
            frames).
        HubError: the files of a hub id could not be had.
    """
    cls, model = encoder_settings(type, model, features)
    try:
        encoder = cls.from_checkpoint(checkpoint, **model) if checkpoint else cls(**model)
        encoder.check(build_features(type, features))
        if hidden_states is not None:
            encoder.give(hidden_states)
    except ValueError as error:
        raise ValueError(f"encoder {type!r}: {error}") from error
    except SIZES_DO_NOT_FIT as error:
        raise ValueError(f"encoder {type!r} cannot be built of {model}: {error}") from error
    return encoder


def build_features(type: str, features: dict[str, Any] | None = None) -> AudioFeatures:
    """Build the front end of an encoder.

    Raises:
        ValueError: unknown type or argument.
    """
    cls = _encoder_class(type).Features
    features = dict(features or {})
    reject_unknown(features, arguments_of(cls), f"features of encoder {type!r}")
    return cls(**features)
