"""The model as LAVIS knows it: arch `pal`, types `lal`, `plits`, `pal`, `flamingo` and `full`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import torch
from lavis.common.registry import registry
from lavis.models.base_model import BaseModel
from omegaconf import OmegaConf

from pal_plugin.models import checkpoint
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.stages import kind_of, parameter_table

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "models"


@registry.register_model("pal")
class PALModel(AudioLLM, BaseModel):
    """`load_model("pal", "lal" | "plits" | "pal" | "flamingo")`; `full` is what the full-size
    recipes of projects/pal start from."""

    PRETRAINED_MODEL_CONFIG_DICT: ClassVar = {
        name: str(CONFIGS / f"pal_{name}.yaml")
        for name in ("lal", "plits", "pal", "flamingo", "full")
    }

    @classmethod
    def from_config(cls, cfg) -> PALModel:
        """Build from a `model:` section (OmegaConf or dict), then load `checkpoint` if named."""
        return super().from_config(OmegaConf.to_container(OmegaConf.create(cfg), resolve=True))

    @classmethod
    def from_pretrained(
        cls, source: str | Path | None = None, *, model_type: str | None = None, **overrides
    ) -> PALModel:
        """A type of LAVIS's zoo, or what `save_pretrained` wrote; in eval mode, but for LAVIS.

        Args:
            source: the name of a type, a folder, or `owner/name` of the hub.
            model_type: a type, in place of `source`: LAVIS's way, which sets the mode itself.
            overrides: for a folder or the hub, as of `pretrained.load_pretrained`.

        Raises:
            ValueError: neither or both are given, or overrides of a type.
            CheckpointError: as of `pretrained.load_pretrained`.
        """
        types = ", ".join(cls.PRETRAINED_MODEL_CONFIG_DICT)
        if (source is None) == (model_type is None):
            raise ValueError(
                f"expected a type ({types}), a folder of save_pretrained, or owner/name of the "
                f"hub; got source={source!r} and model_type={model_type!r}"
            )
        if source is not None and source not in cls.PRETRAINED_MODEL_CONFIG_DICT:
            return super().from_pretrained(source, **overrides)
        if overrides:
            raise ValueError(
                f"{', '.join(overrides)}: a type of the zoo is built as its YAML file says; change "
                "a copy of the file's model section and give it to from_config"
            )
        if source is not None:
            return super(AudioLLM, cls).from_pretrained(str(source)).eval()
        return super(AudioLLM, cls).from_pretrained(model_type)

    @classmethod
    def from_run(cls, path: str | Path) -> PALModel:
        """The model of a training run, built as it was trained, in eval mode.

        Args:
            path: a run folder (its best checkpoint) or a `.safetensors` file with its JSON.

        Raises:
            CheckpointError: no checkpoint, or no JSON with the model's configuration beside it.
        """
        path = Path(path)
        path = path / "checkpoint_best.safetensors" if path.is_dir() else path
        facts = path.with_suffix(".json")
        if not path.is_file() or not facts.is_file():
            raise checkpoint.CheckpointError(f"expected {path} and {facts.name} beside it")
        model = json.loads(facts.read_text("utf-8")).get("model")
        if not model:
            raise checkpoint.CheckpointError(f"{facts} does not hold a model's configuration")
        return cls.from_config({**model, "checkpoint": str(path)}).eval()

    def save_checkpoint(
        self,
        path: str | Path,
        dtype: torch.dtype | None = None,
        state: dict[str, torch.Tensor] | None = None,
        **meta,
    ) -> Path:
        """Write what this stage trains, with the model's configuration beside it."""
        config = getattr(self, "config", None)
        return checkpoint.save(self, path, dtype, state, model=config, **meta)

    def trainable_table(self) -> str:
        """Trainable and frozen parameters by component, as text."""
        return parameter_table(self)

    def param_groups(self, weight_decay: float) -> list[dict]:
        """AdamW groups by kind of component, with its `name`; matrices decay, vectors do not."""
        groups: dict[tuple[str, bool], list] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                kind = kind_of(name)
                groups.setdefault((kind, parameter.dim() > 1), []).append(parameter)
        return [
            {"name": kind, "params": parameters, "weight_decay": weight_decay if decays else 0.0}
            for (kind, decays), parameters in groups.items()
        ]
