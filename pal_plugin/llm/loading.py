"""Loads a causal LM and its tokenizer from a folder, a GGUF file, or the Hugging Face Hub.

The LLM keeps its transformers class, so that `attach`, `generate`, LoRA (`lora.py`) and checkpoints
all work on the same object.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
import transformers
from packaging.version import Version
from safetensors import SafetensorError
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from pal_plugin.llm import gguf
from pal_plugin.llm.prompts import CHAT, TextFormat
from pal_plugin.utils.hub import HubError, by_hand, fetch, is_hub_id, snapshot

CONFIG = "config.json"
DTYPES = ("float32", "bfloat16", "float16")
QUANTIZED = ("4bit", "8bit")
#: Attributes about quantization and device placement, which peft and saving need.
_KEPT = (
    *("hf_quantizer", "is_quantized", "quantization_method"),
    *("is_loaded_in_4bit", "is_loaded_in_8bit", "hf_device_map"),
)
_TOKENIZER = ["*.json", "*.jinja", "*.model", "*.txt"]


def load_llm(
    path: str | Path,
    dtype: str = "float32",
    attn_implementation: str = "sdpa",
    prompt: str = CHAT,
    system: str | None = None,
    quantize: str | None = None,
    tokenizer: str | Path | None = None,
) -> tuple[nn.Module, TextFormat]:
    """Loads weights and tokenizer.

    Args:
        path: a folder written by `save_pretrained`, a GGUF file or a folder with one, or
            `owner/name` on the Hub. For a multimodal model (Gemma 3 from 4B on, Mistral 3), loads
            the text model.
        dtype: "float32", "bfloat16" or "float16", for weights that are not quantized.
        attn_implementation: "sdpa", "eager", "flash_attention_2" or "flex_attention".
        prompt, system: see `TextFormat`.
        quantize: None, "4bit" (NF4) or "8bit": quantizes the LLM's linear layers by bitsandbytes.
        tokenizer: folder of the tokenizer, if not next to the weights.

    Raises:
        HubError: if files cannot be downloaded; says how to get them.
        ValueError: if a value is unknown, model or tokenizer are missing or damaged, the model
            needs remote code (which is never run), or the tokenizer has more tokens than the LLM.
        ConfigError: if the package for GGUF is missing.
        ImportError: if `quantize` is set without bitsandbytes.
    """
    if dtype not in DTYPES:
        raise ValueError(f"llm.dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    folder = _files(str(path))
    file = gguf.find(folder)
    if file is None:
        llm = text_model(_load_folder(path, folder, dtype, attn_implementation, quantize))
        words = load_tokenizer(Path(tokenizer or folder))
    else:
        if quantize is not None:
            raise ValueError(
                f"llm.quantize: {quantize} is for folders of weights, but a GGUF ({file.name}) is "
                "dequantized to llm.dtype; set llm.quantize: null"
            )
        llm = gguf.load(file, getattr(torch, dtype), attn_implementation)
        words = load_tokenizer(Path(tokenizer)) if tokenizer else gguf.read_tokenizer(file)
    text = TextFormat(words, prompt, system)
    tokens, rows = len(text.tokenizer), llm.get_input_embeddings().num_embeddings
    if tokens > rows:
        raise ValueError(
            f"the tokenizer has {tokens} tokens, but the LLM only embeds {rows}: they do not "
            "belong together"
        )
    return llm, text


def read_config(path: Path) -> PretrainedConfig:
    """The text model's config at `path`, as `load_llm` would use it.

    Raises:
        ConfigError, ValueError: as `load_llm`, if it is missing, unreadable or unknown.
    """
    file = gguf.find(path)
    return gguf.read_config(file) if file is not None else text_config(_config(path))


def _config(folder: Path) -> PretrainedConfig:
    """The config of a folder's config.json."""
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} has no {CONFIG} and no GGUF; expected the folder of a causal LM, written "
            "by save_pretrained or downloaded by `hf download owner/name --local-dir DIR`"
        )
    try:
        facts = json.loads((folder / CONFIG).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is not valid JSON: {error}") from error
    kind = facts.get("model_type") if isinstance(facts, dict) else None
    if kind not in CONFIG_MAPPING and "auto_map" not in (facts or ()):
        raise ValueError(
            f"{folder / CONFIG} has the model_type {kind!r}, unknown to transformers "
            f"{transformers.__version__}; expected a causal LM (docs/lal.md lists families)"
        )
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _load_folder(
    path: str | Path, folder: Path, dtype: str, attn_implementation: str, quantize: str | None
) -> nn.Module:
    try:
        config = _config(folder)
        return _class_for(config).from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attn_implementation,
            quantization_config=_quantization(quantize, dtype),
            local_files_only=True,
            weights_only=True,
            trust_remote_code=False,  # if unset, transformers asks on the terminal
        )
    except ValueError as error:
        if "state dictionary" in str(error):  # transformers 4, for a partial index
            raise _unreadable(path, folder, error) from error
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"the LLM {path} needs custom code, which is not run; expected a family that is "
            "part of transformers (docs/lal.md lists the supported ones)"
        ) from error
    except (OSError, SafetensorError) as error:  # a missing or truncated shard
        raise _unreadable(path, folder, error) from error


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """The text model's part of a config; a text model's config unchanged."""
    text = config.get_text_config()
    # Since transformers 5 the outer config says whether the embeddings are tied.
    if text is not config and Version(transformers.__version__).major >= 5:
        text.tie_word_embeddings = config.tie_word_embeddings
    return text


def text_model(llm: nn.Module) -> nn.Module:
    """The causal LM inside a multimodal model, with its weights but without other towers; a text
    model unchanged.

    Raises:
        ValueError: if transformers has no causal LM class for the text model.
    """
    config = text_config(llm.config)
    if config is llm.config:
        return llm
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ValueError(
            f"transformers has no causal LM class for {config.model_type!r}, the text model of "
            f"{llm.config.model_type!r}; expected a text model, or one with a causal LM class"
        )
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(config, dtype=llm.dtype)
    place = next(name for name, part in text.named_children() if part is text.get_decoder())
    setattr(text, place, llm.get_decoder())
    text.config = llm.get_decoder().config
    text.set_output_embeddings(llm.get_output_embeddings())
    text.generation_config = llm.generation_config
    text.config.tie_word_embeddings = (
        llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    )
    for name in _KEPT:
        if hasattr(llm, name):
            setattr(text, name, getattr(llm, name))
    left = [name for name, tensor in text.state_dict().items() if tensor.is_meta]
    if left:
        raise ValueError(
            f"{type(llm).__name__} lacks weights of {type(text).__name__}, e.g. {left[0]}"
        )
    return text.eval()


def _class_for(config: PretrainedConfig) -> type:
    """The auto class; transformers' causal LM table lacks some multimodal models (Mistral 3)."""
    known = type(config) in AutoModelForCausalLM._model_mapping
    multimodal = config.get_text_config() is not config
    return AutoModelForImageTextToText if multimodal and not known else AutoModelForCausalLM


def _unreadable(path: str | Path, folder: Path, error: Exception) -> HubError | ValueError:
    reason = str(error).splitlines()[0]
    if is_hub_id(str(path)):
        return HubError(f"cannot load the LLM {path}: {reason} {by_hand(str(path))}")
    return ValueError(f"cannot load the LLM in {folder}: {reason}")


def _files(path: str) -> Path:
    return fetch(path, _TOKENIZER) if is_hub_id(path) else snapshot(path, [])


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder; a config.json in it may be that of an audio-LLM.

    Raises:
        ValueError: if there is none.
    """
    # Checked first: transformers versions fail in different ways, or make up an empty tokenizer.
    if not any(path for kind in ("tokenizer*", "vocab*") for path in folder.glob(kind)):
        raise ValueError(
            f"no tokenizer in {folder}; expected tokenizer.json and tokenizer_config.json next "
            "to the weights, or set llm.tokenizer to their folder"
        )
    kwargs = {}
    if (folder / CONFIG).is_file():
        facts = json.loads((folder / CONFIG).read_text("utf-8"))
        if "model_type" in facts and facts["model_type"] not in CONFIG_MAPPING:
            kwargs["config"] = PretrainedConfig()  # transformers would warn about the unknown type
    return AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, **kwargs
    )


def _quantization(quantize: str | None, dtype: str) -> BitsAndBytesConfig | None:
    if quantize is None:
        return None
    if quantize not in QUANTIZED:
        raise ValueError(f"llm.quantize is {quantize!r}; expected null, {' or '.join(QUANTIZED)}")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ImportError(
            f"llm.quantize: {quantize} needs bitsandbytes, which is not installed: "
            "pip install bitsandbytes, or set llm.quantize: null"
        )
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
