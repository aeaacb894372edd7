"""Sizes of a model without its weights: its own config.json, or that of a few known models."""

from __future__ import annotations

import json
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from pal_plugin.encoders import ENCODERS, arguments_of
from pal_plugin.llm.loading import text_config
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import HubError, snapshot
from pal_plugin.utils.locations import resolve

# The sizes in the public config.json of meta-llama/Llama-3.2-1B, meta-llama/Llama-3.2-3B and
# Qwen/Qwen2.5-1.5B. Only what decides cost, so that a plan can be made where the hub is not.
_LLM_FIELDS = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim"),
)
_LLMS = {
    "llama-3.2-1b": ("llama", 2048, 8192, 16, 32, 8, 128256, 64),
    "llama-3.2-3b": ("llama", 3072, 8192, 28, 24, 8, 128256, 128),
    "qwen2.5-1.5b": ("qwen2", 1536, 8960, 28, 12, 2, 151936),  # the head size follows
}
LLMS = {
    # Not strict: a head size at the end may be left out.
    name: {**dict(zip(_LLM_FIELDS, sizes, strict=False)), "tie_word_embeddings": True}
    for name, sizes in _LLMS.items()
}
# The same of openai/whisper-*: width, layers, heads; the FFN is four times as wide.
_WHISPER = {
    "tiny": (384, 4, 6),
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
# LAION's unfused CLAP is what the class builds unless told otherwise.
ENCODER_SIZES["clap-htsat-unfused"] = {}


def llm_config(path: str) -> tuple[PretrainedConfig, str]:
    """The configuration of an LLM, and where it was found.

    Args:
        path: as `model.llm.path`: a folder, `owner/name` of the hub, or `pocket://llm`.

    Raises:
        ConfigError: neither its config.json nor a known shape of that name.
    """
    try:
        folder = snapshot(resolve(path), ["config.json"])
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        return text_config(config), f"config.json of {path}"  # as `load_llm` takes it
    except (HubError, OSError) as error:
        name = _base_name(path).removesuffix("-instruct")
        if name not in LLMS:
            raise ConfigError(
                f"model.llm.path: the sizes of {path!r} are not known: {error} Without it a plan "
                f"knows {', '.join(LLMS)}."
            ) from error
        sizes = dict(LLMS[name])
        return AutoConfig.for_model(sizes.pop("model_type"), **sizes), f"the built-in shape {name}"


def encoder_sizes(entry: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Arguments of an encoder's class that its checkpoint's config.json gives, and their source.

    Args:
        entry: one of `model.encoders`. What its `model` says wins, as it does in loading.

    Raises:
        ConfigError: a hub id whose config.json cannot be had and whose sizes are not known.
    """
    given, checkpoint = dict(entry.get("model") or {}), entry.get("checkpoint")
    if not checkpoint or str(checkpoint).startswith("pocket://"):
        return given, None  # a file of the size that is given
    known = set(arguments_of(ENCODERS[entry["type"]]))
    try:
        path = snapshot(str(checkpoint), ["config.json"])
        if not (path / "config.json").is_file():
            return given, None
        stored = json.loads((path / "config.json").read_text("utf-8"))
    except HubError as error:
        name = _base_name(str(checkpoint))
        if name in ENCODER_SIZES:
            return {**ENCODER_SIZES[name], **given}, f"the built-in shape {name}"
        if "." in name:  # a file, which has no sizes beside it
            return given, "the run file, else the published model (its weights are not there yet)"
        raise ConfigError(
            f"the sizes of the encoder {checkpoint!r} are not known: {error} Without it a plan "
            f"knows {', '.join(ENCODER_SIZES)}."
        ) from error
    stored = stored.get("audio_config", stored)
    sizes = {name: value for name, value in stored.items() if name in known}
    return {**sizes, **given}, f"config.json of {checkpoint}"


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].lower()
