"""Arguments of Hugging Face's `from_pretrained`, as settings of our own loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig

#: Without effect: nothing of a model's folder is code, and weights are read as they are.
_IGNORED = (
    *("_from_auto", "adapter_kwargs", "trust_remote_code", "low_cpu_mem_usage", "use_safetensors"),
    *("local_files_only", "output_loading_info", "weights_only", "_commit_hash", "_from_pipeline"),
    *("tie_word_embeddings", "key_mapping"),
)
#: Of the hub: nothing but the default is known here.
_HUB = ("cache_dir", "force_download", "proxies", "revision", "subfolder", "token", "code_revision")
_OURS = ("llm", "encoders", "prompt", "system", "tokenizer")
_OF_4BIT = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


def settings_of(given: Mapping[str, Any]) -> tuple[dict[str, Any], torch.device | None]:
    """Keyword arguments of `AudioLLM.from_pretrained`, and the device that the model goes to.

    Args:
        given: keyword arguments of Hugging Face's `from_pretrained`.

    Raises:
        ValueError: an argument or a value that our loader has nothing for, by name.
    """
    given = {name: value for name, value in given.items() if name not in _IGNORED}
    settings = {name: given.pop(name) for name in _OURS if given.get(name) is not None}
    device = _device(given.pop("device_map", None))
    dtypes = [given.pop(name, None) for name in ("dtype", "torch_dtype")]
    dtype = next((one for one in dtypes if one not in (None, "auto")), None)
    if dtype is not None:
        settings["dtype"] = str(dtype).removeprefix("torch.")
    if (attention := given.pop("attn_implementation", None)) is not None:
        settings["attn_implementation"] = attention
    quantize = _quantize(given)
    if quantize is not None:
        settings["quantize"] = quantize
    wrong = [name for name in given if given[name] not in (None, False)]
    hub = [name for name in wrong if name in _HUB and (name, given[name]) != ("revision", "main")]
    if hub:
        raise ValueError(
            f"{', '.join(hub)}: fetch the folder first (`hf download owner/name --local-dir DIR`) "
            "and give it"
        )
    if wrong := [name for name in wrong if name not in _HUB]:
        raise ValueError(
            f"from_pretrained does not know {', '.join(wrong)}; known: {', '.join(_OURS)}, dtype, "
            "device_map, attn_implementation, quantization_config, load_in_4bit, load_in_8bit"
        )
    return settings, device


def _device(where: Any) -> torch.device | None:
    """The one device of a device map; None: stays where it is loaded."""
    if where is None:
        return None
    if isinstance(where, Mapping):
        places = {str(place) for place in where.values()}
        if len(places) != 1 or "disk" in places:
            raise ValueError(
                f"device_map names {sorted(places)}; a model of ours is on one device: 'auto', "
                "'cuda:0', 'cpu', {'': 0}"
            )
        where = next(iter(where.values()))
    if where in ("auto", "balanced", "balanced_low_0", "sequential"):
        where = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(where)


def _quantize(given: dict[str, Any]) -> str | None:
    """`llm.quantize` of bitsandbytes' settings; takes these out of `given`."""
    config = given.pop("quantization_config", None)
    bits = {"4bit": given.pop("load_in_4bit", None), "8bit": given.pop("load_in_8bit", None)}
    if isinstance(config, Mapping):
        config = BitsAndBytesConfig(**config)
    if config is not None:
        if not isinstance(config, BitsAndBytesConfig):
            raise ValueError(
                f"quantization_config is a {type(config).__name__}; expected BitsAndBytesConfig "
                "with load_in_4bit or load_in_8bit"
            )
        other = {name: getattr(config, name) for name in _OF_4BIT if config.load_in_4bit}
        differ = [name for name, value in other.items() if value != _OF_4BIT[name]]
        if differ:
            given_here, expected = (
                ", ".join(f"{name}={values[name]!r}" for name in differ)
                for values in (other, _OF_4BIT)
            )
            raise ValueError(
                f"quantization_config has {given_here}; expected {expected}, or load_in_4bit=True "
                "in its place"
            )
        bits = {"4bit": config.load_in_4bit, "8bit": config.load_in_8bit}
    return next((name for name, asked in bits.items() if asked), None)
