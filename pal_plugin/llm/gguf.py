"""LLMs out of GGUF files, read and unpacked by transformers: what comes is a plain model, which is
trained, saved and attached as any other."""

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

#: Tensors that scale the rotary positions (Llama 3.1, Phi 3), which transformers leaves unread.
_ROTARY = (b"rope_freqs.weight", b"rope_factors_")
#: Bytes that hold names and tokenizer, and more.
_HEAD = 2**26


def find(path: Path) -> Path | None:
    """The GGUF that `path` is or, as a folder without weights of another kind, holds; or None.

    Raises:
        ValueError: a folder of several.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    found = sorted(path.glob("[!.]*.gguf"))
    if not found or any(path.glob("[!.]*.safetensors")) or any(path.glob("pytorch_model*.bin")):
        return None
    if len(found) > 1:
        raise ValueError(
            f"{path} holds {len(found)} GGUF files: {first_of([f.name for f in found])}; give "
            "llm.path one of them (a model in several parts is not read: join them first)"
        )
    return found[0]


def read_config(file: Path) -> PretrainedConfig:
    """The model's configuration.

    Raises:
        ConfigError: the package `gguf` is not installed.
        ValueError: no GGUF, a damaged one, or an architecture that transformers does not read.
    """
    _check(file)
    return _read(AutoConfig, file)


def load(file: Path, dtype: torch.dtype, attn_implementation: str) -> nn.Module:
    """The model, its weights unpacked to `dtype`.

    Raises:
        ConfigError, ValueError: as `read_config`, or a file that lacks weights of its architecture.
    """
    config = read_config(file)
    logging.info("unpacking %s (%.0f MB)", file.name, file.stat().st_size / 1e6)
    settings = {"config": config, "dtype": dtype, "attn_implementation": attn_implementation}
    # From some version of transformers 5 on, weights of some architectures would stay packed.
    if hasattr(transformers, "GgufConfig"):
        settings["quantization_config"] = transformers.GgufConfig(dequantize=True)
    llm, report = _read(AutoModelForCausalLM, file, output_loading_info=True, **settings)
    lost = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if lost:
        raise ValueError(f"{file} lacks weights of a {type(llm).__name__}: {first_of(lost)}")
    if getattr(llm, "hf_quantizer", None) is not None:
        # It says "quantized", which nothing is any more, and refuses to be saved.
        llm.hf_quantizer.remove_quantization_config(llm)
    return llm


def read_tokenizer(file: Path):
    """Tokenizer and chat template.

    Raises:
        ConfigError, ValueError: as `read_config`.
    """
    return _read(AutoTokenizer, file)


def unpack(source: Path, target: Path) -> bool:
    """Write the model of a folder's GGUF as a stock folder, which loads without unpacking.

    In float32: what packed weights stand for is not exactly in bfloat16 or float16.

    Args:
        source: the folder of the GGUF.
        target: another one, which is there. Beside its GGUF, transformers would mix the tokenizers.

    Returns:
        Whether there was one to unpack.

    Raises:
        ConfigError, ValueError: as `load`.
        ConfigError: it cannot be written.
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
            f"{file.name} cannot be unpacked to {target}, which takes {size:.0f} MB: {error}. It "
            "works as it is, and loads more slowly"
        ) from error
    for path in target.iterdir():  # save_pretrained gives weights to their owner only
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
    except Exception as error:  # of many kinds, where a file is damaged
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cannot read {file} (is it whole?): {reason}") from error


def _check(file: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            f"{file.name} is read by the package gguf, which is not installed: pip install gguf"
        )
    check_is_no_stand_in(file)
    with open(file, "rb") as opened:
        head = opened.read(_HEAD)
    if not head.startswith(b"GGUF"):
        raise ValueError(f"{file} is no GGUF file; it begins with {head[:4]!r}")
    if any(name in head for name in _ROTARY):
        raise ValueError(
            f"{file} scales its rotary positions by a tensor of their own, which transformers does "
            "not read from a GGUF: the answers would be wrong without a word. Give llm.path the "
            "model's folder as its makers publish it (safetensors)"
        )
