"""Saving and loading whole models: from a configuration, a checkpoint, or one folder.

The folder has the configuration, the trained weights, the tokenizer and a model card.

Weights that were not trained are not copied. The folder stores a few values of each of their
tensors instead, and settings that affect results but not weights, so that a different base model is
rejected by name, not noticed by its answers.

A folder without config.json is not a model: it is removed first and written last, so an interrupted
save leaves the old model or none, never a mixture.

    config.json        the `model:` section, the file's components, samples of the others
    model.safetensors  trained weights
    llm/               the LLM, if trained in full or with merged adapters
    tokenizer files    as the model uses them
    README.md          the model card
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pal_plugin.config.zoo import MODEL_TYPES, type_section
from pal_plugin.llm.lora import merge_lora
from pal_plugin.models import base_weights, checkpoint, interchange, model_card
from pal_plugin.models.build import build_components
from pal_plugin.models.checkpoint import CheckpointError
from pal_plugin.models.components import ModelComponents
from pal_plugin.models.stages import component_of
from pal_plugin.utils.hub import is_hub_id, snapshot
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.spelling import did_you_mean
from pal_plugin.version import __version__

CONFIG, WEIGHTS, LLM = "config.json", "model.safetensors", "llm"
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", f"{LLM}/*"]
_NEW = ("connectors.", "cross_attention", "gains.")


class StoredModel(ModelComponents):
    """Saving and loading of a whole model."""

    @classmethod
    def from_config(cls, cfg: Any) -> StoredModel:
        """Builds from a `model:` section (see `build_components`), then loads its `checkpoint`.

        As for any new module, it is in training mode; frozen modules are in eval mode.

        Args:
            cfg: a plain mapping or OmegaConf's.

        Raises:
            ValueError: as `build_components`.
            CheckpointError: as `load_checkpoint`.
        """
        if not isinstance(cfg, Mapping | DictConfig):
            raise ValueError(
                f"expected a model section, {{'encoders': ..., 'connectors': ..., ...}}, got "
                f"{type(cfg).__name__}; for a type by name: from_pretrained('lal')"
            )
        cfg = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True)
        model = cls(**build_components(cfg))
        model.config = cfg
        model.untrained = tuple(n for n in _new(model) if not n.startswith("gains."))
        if cfg.get("checkpoint"):
            model.load_checkpoint(cfg["checkpoint"])
        return model

    def load_checkpoint(self, url_or_filename: str) -> list[str]:
        """Loads trained weights of a run; returns the loaded components.

        Components that are not in the file are unchanged, except LoRA, which is reset: its adapters
        belong to other weights. `from_run` builds the whole model of a run.

        Raises:
            CheckpointError: see `checkpoint.load`; names each key that does not match.
        """
        if not url_or_filename:
            raise CheckpointError(
                f"the checkpoint is {url_or_filename!r}; expected a run folder or a .safetensors "
                "file"
            )
        path = resolve(url_or_filename)
        components = checkpoint.load(self, path)
        logging.info("loaded %s from %s", ", ".join(components), path)
        return components

    def save_checkpoint(
        self,
        path: str | Path,
        dtype: torch.dtype | None = None,
        state: dict[str, torch.Tensor] | None = None,
        **meta,
    ) -> Path:
        """Writes this stage's trained weights and the configuration; see `checkpoint.save`."""
        return checkpoint.save(self, path, dtype, state, model=self.config, **meta)

    @classmethod
    def from_run(cls, path: str | Path) -> StoredModel:
        """Builds the model of a training run, in eval mode.

        Args:
            path: a run folder (its best checkpoint) or a `.safetensors` file with its JSON.

        Raises:
            CheckpointError: if there is no checkpoint, or no JSON with the configuration next to
                it.
        """
        given, path = path, checkpoint.best(path or "")
        facts = path.with_suffix(".json")
        if not path.is_file() or not facts.is_file():
            reason = "no such file or folder"
            if path.is_file():
                reason = f"no {facts.name} next to it"
            elif given and Path(given).is_dir():
                reason = f"no {path.name} in it"
            raise CheckpointError(
                f"no trained model at {given!r}: {reason}; expected a run folder, e.g. output/RUN "
                "(its best checkpoint is loaded), or a .safetensors file with its .json"
            )
        section = json.loads(facts.read_text("utf-8")).get("model")
        if not section:
            raise CheckpointError(f"{facts} has no model configuration")
        return cls.from_config({**section, "checkpoint": str(path)}).eval()

    @classmethod
    def from_pretrained(cls, source: str | Path, **overrides: Any) -> StoredModel:
        """Loads the model of a folder or a type, in eval mode.

        Args:
            source: a type's name (`zoo.MODEL_TYPES`, or the class's own), a folder written by
                `save_pretrained` (if named like a type: `./lal`), or `owner/name` on the Hub.
            overrides: for a folder or the Hub: `llm`, path of the base LLM, and `encoders`, paths
                of their checkpoints by name, if not as configured; further settings of the LLM
                (`dtype`, `attn_implementation`, `quantize`, ...).

        Raises:
            CheckpointError: if the folder is missing, the base model differs, or keys do not match.
            HubError: if the files of a Hub id cannot be downloaded.
            ValueError: if overrides are given for a type.
        """
        types = getattr(cls, "PRETRAINED_MODEL_CONFIG_DICT", MODEL_TYPES)
        if not source:
            raise CheckpointError(
                f"the model is {source!r}; expected a type ({', '.join(types)}), a folder written "
                "by save_pretrained, or owner/name on the Hub"
            )
        if str(source) in types:
            return cls.from_config(type_section(str(source), types, **overrides)).eval()
        if not Path(source).expanduser().exists() and not is_hub_id(str(source)):
            raise CheckpointError(
                f"no model type or folder {str(source)!r}. "
                f"{did_you_mean(str(source), list(types))} Or give a folder written by "
                "save_pretrained, or owner/name on the Hub"
            )
        return _load_folder(cls, source, **overrides)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        metrics: dict[str, Any] | None = None,
        whole: bool = False,
    ) -> Path:
        """Writes all trained weights to a folder that `from_pretrained` reads.

        Args:
            folder: created if missing; files of the same names are replaced.
            dtype: storage dtype of trained weights; None keeps it (and outputs identical).
            metrics: measured figures for the model card, by name.
            whole: also writes the weights that were not trained, so that the folder needs nothing
                else.

        Raises:
            CheckpointError: if the model was not built from a configuration, or `whole` and the LLM
                has adapters or is quantized.
        """
        if self.config is None:
            raise CheckpointError(
                "this model has no configuration; build it by AudioLLM.from_config"
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as made:
            _write(self, Path(made), dtype, metrics or {}, whole)
            _put_in_place(Path(made), folder)
        return folder

    def merge_lora(self) -> StoredModel:
        """Merges the LoRA adapters into the LLM's weights, in place; the answers stay the same.

        `save_pretrained` then writes the whole LLM, as transformers does.
        """
        merge_lora(self.llm)
        self.stage = replace(self.stage, llm="frozen")
        if self.config is not None:
            stage = {**(self.config.get("stage") or {}), "llm": "frozen"}
            self.config = {**self.config, "stage": stage}
        self.note_loaded({"llm"}, gone={"llm.lora"})
        return self


def _write(
    model: ModelComponents,
    folder: Path,
    dtype: torch.dtype | None,
    metrics: dict[str, Any],
    whole: bool,
) -> None:
    kept = _kept(model)
    if whole:
        kept |= _frozen(model, kept)
    section = {**deepcopy(model.config), "checkpoint": None, "audio_place": model.audio_place}
    section["llm"].pop("tokenizer", None)  # saved in the folder
    if "llm" in kept and "llm.lora" not in kept:
        _write_llm(model.llm, folder / LLM, dtype)
        section["llm"]["path"] = f"./{LLM}"
        kept = kept - {"llm"}
    for name, encoder in model.encoders.items():  # sizes that its checkpoint determined
        given = section["encoders"][name].get("model") or {}
        section["encoders"][name]["model"] = {**given, **encoder.arguments}
        section["encoders"][name].pop("cache", None)  # specific to this machine
    for part in ("encoders", "connectors"):  # their checkpoints are no longer needed
        for name in section[part]:
            if f"{part}.{name}" in kept:
                _forget_checkpoint(section[part][name])
    checkpoint.write(model, folder / WEIGHTS, kept, dtype)
    base = {component_of(name) for name in model.state_dict()} - kept
    if section["llm"]["path"] == f"./{LLM}":
        base -= {"llm"}
    facts = {
        **interchange.config_facts(model),
        "pal_plugin": __version__,
        "torch": torch.__version__,
        "components": sorted(kept),
        "model": section,
        "llm_shape": base_weights.shape_of(model.llm.config),
        "llm_settings": base_weights.settings_of(model.llm.config),
        "base": {name: base_weights.samples_of(model, name) for name in sorted(base)},
    }
    model.text.tokenizer.save_pretrained(folder)
    interchange.write(model, section, folder)
    (folder / CONFIG).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    card = model_card.text(section, model, kept, metrics)
    (folder / "README.md").write_text(card, "utf-8")


def _write_llm(llm: nn.Module, folder: Path, dtype: torch.dtype | None) -> None:
    if dtype is None:
        llm.save_pretrained(folder)
        return
    cast: dict[tuple, torch.Tensor] = {}  # tied weights stay one tensor
    state = {
        name: cast.setdefault((t.data_ptr(), t.shape), t.to(dtype) if t.is_floating_point() else t)
        for name, t in llm.state_dict().items()
    }
    llm.save_pretrained(folder, state_dict=state)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    name = "dtype" if "dtype" in config else "torch_dtype"  # by version of transformers
    config[name] = str(dtype).removeprefix("torch.")
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _put_in_place(made: Path, folder: Path) -> None:
    (folder / CONFIG).unlink(missing_ok=True)
    for path in sorted(made.iterdir(), key=lambda path: path.name == CONFIG):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)


def _load_folder(
    cls: type[StoredModel],
    source: str | Path,
    llm: str | None = None,
    encoders: dict[str, str] | None = None,
    **llm_settings: Any,
) -> StoredModel:
    folder = snapshot(str(source), _FILES)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} has no {CONFIG}; expected a folder that save_pretrained has completed"
        )
    facts = json.loads((folder / CONFIG).read_text("utf-8"))
    if "model" not in facts or "base" not in facts:
        raise CheckpointError(f"{folder / CONFIG} was not written by pal_plugin's save_pretrained")
    section = _located(facts["model"], folder, llm, encoders or {})
    section["llm"] |= llm_settings
    base_weights.check_config(folder, facts, section["llm"]["path"])
    model = cls.from_config(section)
    for component, expected in facts["base"].items():
        base_weights.check_samples(folder, facts, section, model, component, expected)
    checkpoint.load(model, folder / WEIGHTS)
    model.note_loaded({*facts["components"], *(["llm"] if _own_llm(facts) else [])})
    return model.eval()


def _kept(model: ModelComponents) -> set[str]:
    """Components that are trained, were loaded from a checkpoint, or have no other source: such as
    all connectors, cross-attention and gains, since checkpoints only cover parts of them."""
    trained = {component_of(n) for n, p in model.named_parameters() if p.requires_grad}
    entries = model.config["encoders"].items()
    homeless = {f"encoders.{n}" for n, entry in entries if entry and not entry.get("checkpoint")}
    return trained | model.loaded_components | homeless | set(_new(model))


def _frozen(model: ModelComponents, kept: set[str]) -> set[str]:
    """The LLM and the encoders, which are in nobody's checkpoint but their own."""
    if "llm.lora" in kept:
        raise CheckpointError(
            "whole=True needs a plain LLM, and this one has adapters: call merge_lora first, or "
            "leave the LLM where it is (whole=False)"
        )
    if (model.config["llm"] or {}).get("quantize"):
        raise CheckpointError(
            "whole=True needs the LLM's own weights, and this one is quantized; whole=False"
        )
    return {"llm", *(f"encoders.{name}" for name in model.encoders)}


def _new(model: ModelComponents) -> list[str]:
    """Components introduced by this package, which only its own checkpoints contain."""
    return sorted({n for n in map(component_of, model.state_dict()) if n.startswith(_NEW)})


def _forget_checkpoint(entry: dict) -> None:
    for place in (entry, entry.get("args") or {}):
        if "checkpoint" in place:
            place["checkpoint"] = None


def _own_llm(facts: dict) -> bool:
    return facts["model"]["llm"]["path"] == f"./{LLM}"


def _located(section: dict, folder: Path, llm: str | None, encoders: dict[str, str]) -> dict:
    """The model section with local paths."""
    section = deepcopy(section)
    if section["llm"]["path"] == f"./{LLM}":
        if llm is not None:
            raise CheckpointError(f"{folder} includes an LLM; remove llm={llm!r}")
        section["llm"]["path"] = str(folder / LLM)
    elif llm is not None:
        section["llm"]["path"] = llm
    section["llm"]["tokenizer"] = str(folder)
    for name, path in encoders.items():
        if name not in section["encoders"]:
            raise CheckpointError(
                f"{folder} has the encoders {sorted(section['encoders'])}, not {name!r}"
            )
        section["encoders"][name]["checkpoint"] = path
    return section
