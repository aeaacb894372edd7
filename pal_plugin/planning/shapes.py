"""Sizes of a model without its weights: from its own files, or built in for a few models."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from pal_plugin.encoders import AudioEncoder, encoder_settings
from pal_plugin.llm import gguf
from pal_plugin.llm.loading import read_config
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import HubError, snapshot
from pal_plugin.utils.locations import resolve

# The sizes in the public config.json of meta-llama/Llama-3.2-1B, meta-llama/Llama-3.2-3B,
# Qwen/Qwen2.5-1.5B and HuggingFaceTB/SmolLM2-135M: only what determines cost, for planning offline.
_LLM_FIELDS = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim"),
)
_LLMS = {
    "llama-3.2-1b": ("llama", 2048, 8192, 16, 32, 8, 128256, 64),
    "llama-3.2-3b": ("llama", 3072, 8192, 28, 24, 8, 128256, 128),
    "smollm2-135m": ("llama", 576, 1536, 30, 9, 3, 49152, 64),
    "qwen2.5-1.5b": ("qwen2", 1536, 8960, 28, 12, 2, 151936),  # head_dim = hidden_size / heads
}
LLMS = {
    # Not strict: head_dim may be omitted.
    name: {**dict(zip(_LLM_FIELDS, sizes, strict=False)), "tie_word_embeddings": True}
    for name, sizes in _LLMS.items()
}
# The same for openai/whisper-*: width, layers, heads; the FFN is four times as wide.
_WHISPER = {
    "tiny": (384, 4, 6),
    "tiny.en": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large-v2": (1280, 32, 20),
    "large-v3": (1280, 32, 20),
}
ENCODER_SIZES = {
    f"whisper-{name}": {
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "num_mel_bins": 128 if name == "large-v3" else 80,
        "max_source_positions": 1500,
    }
    for name, (width, layers, heads) in _WHISPER.items()
}
# LAION's unfused CLAP has the class's default sizes.
ENCODER_SIZES["clap-htsat-unfused"] = {}


def llm_config(path: str) -> tuple[PretrainedConfig, str]:
    """The configuration of an LLM, and its source.

    Args:
        path: as `model.llm.path`: a folder, `owner/name` of the hub, or `pocket://llm`.

    Raises:
        ConfigError: no config.json, and no built-in sizes of that name.
    """
    try:
        place = snapshot(resolve(path), ["config.json"])
        kind = "config.json of" if gguf.find(place) is None else "the GGUF"
        return read_config(place), f"{kind} {path}"
    except (HubError, OSError) as error:
        name = _base_name(path).removesuffix("-instruct")
        if name not in LLMS:
            raise ConfigError(
                f"model.llm.path: the sizes of {path!r} are unknown: {error} Built-in sizes: "
                f"{', '.join(LLMS)}."
            ) from error
        sizes = dict(LLMS[name])
        return AutoConfig.for_model(sizes.pop("model_type"), **sizes), _built_in(name, path)
    except ValueError as error:  # a damaged file
        raise ConfigError(f"model.llm.path: {error}") from error


def encoder_sizes(entry: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Arguments of an encoder's class, and their source; None: the run file.

    Args:
        entry: one of `model.encoders`.

    Raises:
        ConfigError: sizes that contradict the checkpoint's, or a hub id without a reachable
            config.json or built-in sizes.
    """
    kind, checkpoint = entry.get("type"), str(entry.get("checkpoint") or "")
    try:
        cls, given = encoder_settings(kind, entry.get("model"), entry.get("features"))
        if not checkpoint or checkpoint.startswith("pocket://"):
            return given, None  # the run file has the sizes
        stored, source = _stored_sizes(cls, checkpoint)
        return cls.arguments_for(stored, given, checkpoint), source
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"encoder {kind!r}: {error}") from error


def _stored_sizes(cls: type[AudioEncoder], checkpoint: str) -> tuple[dict[str, Any], str]:
    """The known sizes of a checkpoint, and their source."""
    try:
        sizes = cls.sizes_of(snapshot(resolve(checkpoint), ["config.json"]))
    except (HubError, OSError) as error:
        name = _base_name(checkpoint)
        if name in ENCODER_SIZES:
            return ENCODER_SIZES[name], _built_in(name, checkpoint)
        if "." in name:
            return {}, f"the run file, else the published model ({checkpoint} does not exist yet)"
        raise ConfigError(
            f"the sizes of the encoder {checkpoint!r} are unknown: {error} Built-in sizes: "
            f"{', '.join(ENCODER_SIZES)}."
        ) from error
    if sizes:
        return sizes, f"{checkpoint} itself"
    return {}, f"the run file, else the published model ({checkpoint} does not contain them)"


def _built_in(name: str, path: str) -> str:
    return f"the built-in sizes of {name} ({path} is not available)"


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].lower()
