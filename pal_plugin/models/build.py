"""Builds a model from the `model:` section; the only place that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from pal_plugin.config.merging import present
from pal_plugin.config.ranges import problems
from pal_plugin.connectors import build_connector
from pal_plugin.encoders import AudioEncoder, build_encoder
from pal_plugin.encoders.base import encoder_of, outputs_of
from pal_plugin.encoders.cache import EncoderCache
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.integration import Route
from pal_plugin.llm.families import text_config
from pal_plugin.llm.loading import load_llm
from pal_plugin.models.stages import Stage
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.spelling import reject_unknown

#: Keys of a `model:` section.
KEYS = (
    *("arch", "model_type", "encoders", "connectors", "routing", "lal_gain", "audio_place"),
    *("llm", "stage", "checkpoint"),
)
REQUIRED = ("encoders", "connectors", "routing", "llm")
#: Sections of named entries: required and optional keys of an entry. AudioFrontend checks those of
#: encoders.
ENTRIES = (
    ("connectors", ("type", "encoders"), ("args",)),
    ("routing", ("integration",), ("layers", "pool")),
)


def build_components(cfg: dict[str, Any], load: Callable = load_llm) -> dict[str, Any]:
    """Keyword arguments of `AudioLLM` from a plain `model:` section.

    Args:
        load: builds the LLM and its text format from `model.llm` (`planning` builds one without
            weights).

    Raises:
        ValueError: if a key is unknown or missing, a value out of range (`config.ranges`), a
            connector reads an unknown encoder, an encoder is not read by any, a group has no route,
            or a route names layers that the LLM does not have.
    """
    reject_unknown(cfg, KEYS, "model")
    cfg = {**cfg, "stage": cfg.get("stage") or {}}
    missing = [key for key in REQUIRED if not isinstance(cfg.get(key), Mapping)]
    if missing:
        raise ValueError(f"model needs mappings under {', '.join(missing)}; got {sorted(cfg)}")
    if wrong := problems({"model": cfg}):
        raise ValueError("; ".join(wrong))
    if "path" not in cfg["llm"]:
        raise ValueError(f"model.llm needs path (a folder or owner/name); got {sorted(cfg['llm'])}")
    reject_unknown(cfg["llm"], inspect.signature(load_llm).parameters, "model.llm")
    reject_unknown(cfg["stage"], (field.name for field in fields(Stage)), "model.stage")
    if cfg["llm"].get("quantize") and cfg["stage"].get("llm") == "full":
        raise ValueError(
            "a quantized LLM cannot be trained in full; set stage.llm to lora or frozen, or "
            "llm.quantize to null"
        )
    cfg = {**cfg, **{key: present(cfg[key]) for key in ("encoders", "connectors", "routing")}}
    for section, required, optional in ENTRIES:
        for where, entry in _entries(cfg, section):
            reject_unknown(entry, (*required, *optional), where)
            missing = [key for key in required if key not in entry]
            if missing:
                raise ValueError(f"{where} needs {', '.join(missing)}; got {sorted(entry)}")
    frontend = AudioFrontend(cfg["encoders"])
    caches = caches_of(frontend, cfg["stage"])
    encoders = build_encoders(cfg["encoders"])
    groups = {group: list(c["encoders"]) for group, c in cfg["connectors"].items()}
    read = {name for names in groups.values() for name in names}
    given = {out for name, e in encoders.items() for out in outputs_of(name, e.hidden_states)}
    if read != given:
        raise ValueError(
            f"connectors read the encoders {sorted(read)}, but model.encoders has "
            f"{sorted(given)}; each encoder needs a connector (and each of its hidden states, "
            "as NAME@INDEX)"
        )
    if groups.keys() != cfg["routing"].keys():
        raise ValueError(
            f"model.routing has the groups {sorted(cfg['routing'])}, but model.connectors has "
            f"{sorted(groups)}; each group needs one route"
        )
    llm, text = load(**{**cfg["llm"], "path": resolve(cfg["llm"]["path"])})
    width = llm.get_input_embeddings().embedding_dim
    routing = {
        group: tuple(Route(**way) for way in _as_list(entry))
        for group, entry in cfg["routing"].items()
    }
    layers = text_config(llm).num_hidden_layers
    for group, ways in routing.items():
        absent = [i for way in ways for i in way.layers or () if not 0 <= i < layers]
        if absent:
            raise ValueError(
                f"model.routing.{group}.layers names {absent}, but the LLM has the layers "
                f"0..{layers - 1}"
            )
    connectors = {
        group: build_connector(
            c["type"],
            {n: encoders[encoder_of(n)].width for n in c["encoders"]},
            {n: encoders[encoder_of(n)].grid for n in c["encoders"]},
            width,
            _located(c.get("args") or {}),
        )
        for group, c in cfg["connectors"].items()
    }
    return {
        "encoders": encoders,
        "connectors": connectors,
        "groups": groups,
        "routing": routing,
        "llm": llm,
        "text": text,
        "frontend": frontend,
        "stage": Stage(**cfg["stage"]),
        "caches": caches,
        "lal_gain": cfg.get("lal_gain"),
        "audio_place": cfg.get("audio_place") or "front",
    }


def _entries(cfg: dict[str, Any], section: str) -> Iterator[tuple[str, Any]]:
    """Entries of a section with their paths; a group may have a list of routes."""
    for name, entry in cfg[section].items():
        where = f"model.{section}.{name}"
        if not isinstance(entry, list):
            yield where, entry
            continue
        yield from ((f"{where}[{number}]", way) for number, way in enumerate(entry))


def _as_list(entry: Any) -> list:
    return entry if isinstance(entry, list) else [entry]


def build_encoders(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, AudioEncoder]:
    """The encoders of `model.encoders`, with weights from their own checkpoints."""
    return {
        name: build_encoder(**{key: v for key, v in _located(entry).items() if key != "cache"})
        for name, entry in entries.items()
    }


def caches_of(frontend: AudioFrontend, stage: Mapping[str, Any]) -> dict[str, EncoderCache]:
    """Caches of the encoders with `cache` set; a run opens them (`training.caching`).

    Raises:
        ValueError: if the stage trains the encoders.
    """
    if frontend.caches and stage.get("encoders") == "full":
        raise ValueError(
            f"model.encoders.{next(iter(frontend.caches))}.cache needs a frozen encoder, but "
            "model.stage.encoders is full: remove one of them"
        )
    return {name: EncoderCache(name, settings) for name, settings in frontend.caches.items()}


def _located(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its checkpoint path resolved."""
    if not entry.get("checkpoint"):
        return entry
    return {**entry, "checkpoint": resolve(entry["checkpoint"])}
