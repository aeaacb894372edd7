"""LLMs from GGUF files, dequantized by transformers to plain models, which can be trained, saved
and attached like any other."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import first_of
from pal_plugin.utils.weights import check_is_no_stand_in

#: Tensors that scale rotary positions (Llama 3.1, Phi 3), which transformers ignores.
_ROTARY = (b"rope_freqs.weight", b"rope_factors_")
#: Number of bytes that include all tensor names and the tokenizer.
_HEAD = 2**26


def find(path: Path) -> Path | None:
    """The GGUF file at `path`, or in a folder without other weights; None if there is none.

    Raises:
        ValueError: if a folder has several.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    found = sorted(path.glob("[!.]*.gguf"))
    if not found or any(path.glob("[!.]*.safetensors")) or any(path.glob("pytorch_model*.bin")):
        return None
    if len(found) > 1:
        raise ValueError(
            f"{path} has {len(found)} GGUF files: {first_of([f.name for f in found])}; set "
            "llm.path to one of them (multi-part models are not supported: merge the parts)"
        )
    return found[0]


def read_config(file: Path) -> PretrainedConfig:
    """The model's configuration.

    Raises:
        ConfigError: if the package `gguf` is not installed.
        ValueError: if it is not a GGUF file, damaged, or of an unsupported architecture.
    """
    _check(file)
    return _read(AutoConfig, file)


def load(file: Path, dtype: torch.dtype, attn_implementation: str) -> nn.Module:
    """The model, with weights dequantized to `dtype`.

    Raises:
        ConfigError, ValueError: as `read_config`, or if weights of the architecture are missing.
    """
    config = read_config(file)
    logging.info("dequantizing %s (%.0f MB)", file.name, file.stat().st_size / 1e6)
    settings = {"config": config, "dtype": dtype, "attn_implementation": attn_implementation}
    # Since some version of transformers 5, weights of some architectures would stay quantized.
    if hasattr(transformers, "GgufConfig"):
        settings["quantization_config"] = transformers.GgufConfig(dequantize=True)
    llm, report = _read(AutoModelForCausalLM, file, output_loading_info=True, **settings)
    lost = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if lost:
        raise ValueError(f"{file} lacks weights of {type(llm).__name__}: {first_of(lost)}")
    if getattr(llm, "hf_quantizer", None) is not None:
        # It still claims to be quantized, and refuses to be saved.
        llm.hf_quantizer.remove_quantization_config(llm)
    return llm


def read_tokenizer(file: Path):
    """Loads tokenizer and chat template.

    Raises:
        ConfigError, ValueError: as `read_config`.
    """
    return _read(AutoTokenizer, file)


def unpack(source: Path, target: Path) -> bool:
    """Writes the model of a folder's GGUF as a standard folder, which loads without dequantizing.

    Uses float32: dequantized weights are not exactly representable in bfloat16 or float16.

    Args:
        source: the folder with the GGUF.
        target: another existing folder. In the GGUF's folder, transformers would mix the
            tokenizers.

    Returns:
        Whether there was a GGUF.

    Raises:
        ConfigError, ValueError: as `load`.
        ConfigError: if writing fails.
    """
    file = find(source)
    if file is None:
        return False
    llm, tokenizer = load(file, torch.float32, "sdpa"), read_tokenizer(file)
    try:
        llm.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except (OSError, SafetensorError) as error:
        size = sum(p.numel() for p in llm.parameters()) * 4 / 1e6
        raise ConfigError(
            f"cannot dequantize {file.name} to {target}, which takes {size:.0f} MB: {error}. The "
            "GGUF works, too, but loads more slowly"
        ) from error
    for path in target.iterdir():  # save_pretrained makes weights readable by their owner only
        shutil.copymode(file, path)
    return True


def _read(auto: type, file: Path, **settings):
    try:
        return auto.from_pretrained(
            file.parent,
            gguf_file=file.name,
            local_files_only=True,
            trust_remote_code=False,
            **settings,
        )
    except Exception as error:  # of many kinds, for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cannot read {file} (is it complete?): {reason}") from error


def _check(file: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            f"{file.name} needs the package gguf, which is not installed: pip install gguf"
        )
    check_is_no_stand_in(file)
    with open(file, "rb") as opened:
        head = opened.read(_HEAD)
    if not head.startswith(b"GGUF"):
        raise ValueError(f"{file} is not a GGUF file: it starts with {head[:4]!r}")
    if any(name in head for name in _ROTARY):
        raise ValueError(
            f"{file} scales its rotary positions by a tensor that transformers does not read from "
            "a GGUF: answers would be silently wrong. Set llm.path to the original model folder "
            "(safetensors)"
        )
