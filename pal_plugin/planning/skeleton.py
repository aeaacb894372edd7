"""The full model on the meta device: parameters have shapes and dtypes but no values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from pal_plugin.config.merging import present
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.models.stages import parameter_counts
from pal_plugin.planning.shapes import encoder_sizes, llm_config
from pal_plugin.utils.errors import ConfigError


@dataclass(frozen=True)
class Skeleton:
    """A model without weights.

    Args:
        model: on the meta device, with its stage applied.
        sources: of the sizes, by component.
    """

    model: AudioLLM
    sources: dict[str, str]

    def parameters(self) -> dict[str, tuple[int, int]]:
        """`{component: (trainable, frozen)}`, in the order of the model."""
        return parameter_counts(self.model)


def build_skeleton(cfg: dict[str, Any]) -> Skeleton:
    """Build a skeleton from a plain `model:` section, as `AudioLLM.from_config` takes it.

    Raises:
        ConfigError: unknown sizes, a quantized LLM, or an inconsistent section.
    """
    if cfg["llm"].get("quantize"):
        raise ConfigError(
            "a quantized LLM cannot be planned, since its kernels need a GPU; plan with "
            "model.llm.quantize=null"
        )
    config, source = llm_config(str(cfg["llm"]["path"]))
    sources, encoders = {"llm": source}, {}
    for name, entry in present(cfg["encoders"]).items():
        sizes, source = encoder_sizes(entry)
        encoders[name] = {**entry, "model": sizes, "checkpoint": None}
        if source:
            sources[f"encoders.{name}"] = source
    llm = {**cfg["llm"], "path": "-"}  # it may not exist here; its config is known
    connectors = _without_checkpoints(cfg["connectors"])
    cfg = {**cfg, "encoders": encoders, "connectors": connectors, "llm": llm}

    def on_meta(dtype: str = "float32", attn_implementation: str = "sdpa", **_) -> tuple:
        llm = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=attn_implementation
        )
        llm.tie_weights()  # transformers 5.0 skips it on the meta device
        return llm, None

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # initializing meta tensors is a no-op, as intended
            model = AudioLLM(**build_components(cfg, load=on_meta))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    return Skeleton(model.train(), sources)


def _without_checkpoints(connectors: dict[str, Any]) -> dict[str, Any]:
    """The connectors without their initial checkpoints."""
    result = dict(connectors)
    for group, entry in present(connectors).items():
        args = {k: v for k, v in (entry.get("args") or {}).items() if k != "checkpoint"}
        result[group] = {**entry, "args": args}
    return result
