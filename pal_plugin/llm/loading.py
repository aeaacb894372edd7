"""Load a causal LM and its tokenizer: a folder, a GGUF file, or a repository of the hub.

The LLM stays the class that transformers gives, so that `attach`, `generate`, LoRA (`lora.py`) and
the checkpoints see one and the same object.
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
)

from pal_plugin.llm import gguf
from pal_plugin.llm.prompts import CHAT, TextFormat
from pal_plugin.utils.hub import HubError, by_hand, fetch, is_hub_id, snapshot

CONFIG = "config.json"
DTYPES = ("float32", "bfloat16", "float16")
QUANTIZED = ("4bit", "8bit")
#: What a model knows of its quantization and its places, which peft and saving ask for.
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
    """Load weights and tokenizer.

    Args:
        path: a folder that `save_pretrained` wrote, a GGUF file or a folder of one, or `owner/name`
            of the hub. Of a multimodal model (Gemma 3 from 4B on, Mistral 3) the text model is
            taken.
        dtype: "float32", "bfloat16" or "float16"; of what is not quantized.
        attn_implementation: "sdpa", "eager", "flash_attention_2" or "flex_attention".
        prompt, system: see `TextFormat`.
        quantize: None, "4bit" (NF4) or "8bit": the LLM's linear layers, by bitsandbytes.
        tokenizer: folder of another tokenizer than the one beside the weights.

    Raises:
        HubError: the files cannot be had; says how to get them.
        ValueError: an unknown value, a folder without model or tokenizer, a model that is code of
            its own (none is run), a damaged file, or a tokenizer with more tokens than the LLM.
        ConfigError: a GGUF without the package that reads it.
        ImportError: `quantize` without bitsandbytes.
    """
    if dtype not in DTYPES:
        raise ValueError(f"llm.dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    folder = _files(str(path))
    file = gguf.find(folder)
    if file is None:
        llm = text_model(_load_folder(path, folder, dtype, attn_implementation, quantize))
        words = _tokenizer(Path(tokenizer or folder))
    else:
        if quantize is not None:
            raise ValueError(
                f"llm.quantize: {quantize} is for folders of weights, and a GGUF ({file.name}) is "
                "unpacked to llm.dtype; set llm.quantize: null"
            )
        llm = gguf.load(file, getattr(torch, dtype), attn_implementation)
        words = _tokenizer(Path(tokenizer)) if tokenizer else gguf.read_tokenizer(file)
    text = TextFormat(words, prompt, system)
    tokens, rows = len(text.tokenizer), llm.get_input_embeddings().num_embeddings
    if tokens > rows:
        raise ValueError(
            f"the tokenizer has {tokens} tokens and the LLM embeds {rows}: they do not belong "
            "together"
        )
    return llm, text


def read_config(path: Path) -> PretrainedConfig:
    """The text model's config of what is at `path`, as `load_llm` would take it.

    Raises:
        ConfigError, ValueError: as `load_llm`; what is not there, not readable or not known.
    """
    file = gguf.find(path)
    return gguf.read_config(file) if file is not None else text_config(_config(path))


def _config(folder: Path) -> PretrainedConfig:
    """What transformers makes of a folder's config.json."""
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} holds no {CONFIG} and no GGUF; expected the folder of a causal LM, as "
            "save_pretrained writes it or `hf download owner/name --local-dir DIR` fetches it"
        )
    try:
        facts = json.loads((folder / CONFIG).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from error
    kind = facts.get("model_type") if isinstance(facts, dict) else None
    if kind not in CONFIG_MAPPING and "auto_map" not in (facts or ()):
        raise ValueError(
            f"{folder / CONFIG} has the model_type {kind!r}, which transformers "
            f"{transformers.__version__} does not know; expected that of a causal LM (docs/lal.md "
            "lists families)"
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
            trust_remote_code=False,  # unset, transformers asks at the terminal
        )
    except ValueError as error:
        if "state dictionary" in str(error):  # transformers 4, of an index of a part only
            raise _unreadable(path, folder, error) from error
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"the LLM {path} is code of its own, which is not run here; expected one of a family "
            "that transformers has (docs/lal.md lists those that can hear)"
        ) from error
    except (OSError, SafetensorError) as error:  # a shard that is not there, or a part of one
        raise _unreadable(path, folder, error) from error


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """The text model's part of a config, or the config itself."""
    text = config.get_text_config()
    # From transformers 5 on the whole says whether the head is that of the embedding.
    if text is not config and Version(transformers.__version__).major >= 5:
        text.tie_word_embeddings = config.tie_word_embeddings
    return text


def text_model(llm: nn.Module) -> nn.Module:
    """The causal LM inside a multimodal model, with its weights and without the other towers; a
    text model as it is.

    Raises:
        ValueError: transformers has no causal LM of that text model.
    """
    config = text_config(llm.config)
    if config is llm.config:
        return llm
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ValueError(
            f"transformers has no causal LM of {config.model_type!r}, the text model inside "
            f"{llm.config.model_type!r}; expected a text model, or one with such a text model"
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
            f"{type(llm).__name__} does not hold all of {type(text).__name__}: {left[0]} is missing"
        )
    return text.eval()


def _class_for(config: PretrainedConfig) -> type:
    """Some multimodal models (Mistral 3) are no causal LMs to transformers' table."""
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


def _tokenizer(folder: Path):
    # Asked first: versions of transformers fail in different ways, or make up an empty one.
    if not any(path for kind in ("tokenizer*", "vocab*") for path in folder.glob(kind)):
        raise ValueError(
            f"no tokenizer in {folder}; expected tokenizer.json and tokenizer_config.json beside "
            "the weights, or llm.tokenizer: the folder that holds them"
        )
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


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
