"""One configuration out of package defaults, a run file (on top of its `base`) and `--options`.

It keeps the interface of LAVIS's `Config` and replaces how it is put together: keys are strict,
`run:` has defaults, `model.model_type` on the command line loads that type's defaults, and all
problems are reported at once.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lavis.common.config import Config as LavisConfig
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from pal_plugin.config.merging import merge_strict
from pal_plugin.config.run_files import SECTIONS, load_yaml, read_run_file
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

RUN_DEFAULTS = Path(__file__).parent.parent / "configs" / "runs" / "default.yaml"


class Config(LavisConfig):
    """The resolved configuration of one run.

    Args:
        args: has `cfg_path` (a run YAML) and `options` (list of "a.b=c", or "a.b" and "c" in turn).
        model_base: a model section that takes the place of the model type's defaults *and* of the
            run file's model section, for evaluating a checkpoint with the model it was trained in.

    Raises:
        ConfigError: every problem found, one per line.
    """

    def __init__(self, args: Any, model_base: dict | None = None) -> None:
        self.args = args
        self._errors: list[str] = []
        self.cfg_path = Path(args.cfg_path)
        file = read_run_file(self.cfg_path)
        options = parse_options(getattr(args, "options", None))
        for section in (*file.items(), *options.items()):
            if section[1] is not None and not isinstance(section[1], dict):
                raise ConfigError(f"{section[0]} is a section of keys, got {section[1]!r}")
        for section in (*file, *options):
            if section not in SECTIONS:
                where = "--options" if section in options else self.cfg_path.name
                self._errors.append(
                    f"{section}: unknown key {section!r} in {where}. "
                    f"{did_you_mean(section, SECTIONS)}"
                )
        merged = {
            "data": self._merge(file.get("data") or {}, options.get("data"), "data", "--options"),
            **self._model_sections(file, options, model_base),
            "datasets": self._datasets(file, options),
            "run": self._run(file, options),
        }
        self._raise()
        self.config = self._resolve(merged)
        registry.register("configuration", self)

    def to_dict(self) -> dict:
        """The configuration as plain dicts and lists, interpolations resolved."""
        return OmegaConf.to_container(self.config, resolve=True)

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML; it is a valid run file itself."""
        path.write_text(OmegaConf.to_yaml(self.config, resolve=True), encoding="utf-8")

    def pretty_print(self) -> None:
        """Log the sections as YAML."""
        for name in self.config:
            text = OmegaConf.to_yaml(self.config[name], resolve=True)
            logging.info("%s:\n%s", name, text.rstrip())

    def _merge(self, base: dict, over: dict | None, path: str, source: str) -> dict:
        if over is None:
            return base
        return merge_strict(base, over, source=source, errors=self._errors, path=path)

    def _run(self, file: dict, options: dict) -> dict:
        run = load_yaml(RUN_DEFAULTS)["run"]
        run = self._merge(run, file.get("run"), "run", self.cfg_path.name)
        run = self._merge(run, options.get("run"), "run", "--options")
        run["name"] = str(run.get("name") or self.cfg_path.stem)
        for key, kind, known in (
            ("runner", "runner", registry.list_runners()),
            ("task", "task", registry.list_tasks()),
            ("lr_sched", "learning rate schedule", registry.list_lr_schedulers()),
        ):
            if run.get(key) not in known:
                self._errors.append(
                    f"run.{key}: no {kind} named {run.get(key)!r} is registered. "
                    f"{did_you_mean(str(run.get(key)), known)}"
                )
        return run

    def _model_sections(self, file: dict, options: dict, model_base: dict | None) -> dict:
        if model_base is not None:
            model = self._merge(model_base, options.get("model"), "model", "--options")
            return {"model": model, "preprocess": {}}
        chosen = {**(file.get("model") or {}), **(options.get("model") or {})}
        defaults = self._model_defaults(chosen)
        if defaults is None:
            return {"model": {}, "preprocess": {}}
        sections = {}
        for name in ("model", "preprocess"):
            base = defaults.get(name) or {}
            if name == "model":  # the YAML of a type may leave the two names that select it out
                base = {"arch": chosen["arch"], "model_type": chosen["model_type"], **base}
            base = self._merge(base, file.get(name), name, self.cfg_path.name)
            sections[name] = self._merge(base, options.get(name), name, "--options")
        return sections

    def _model_defaults(self, chosen: dict) -> dict | None:
        arch, model_type = chosen.get("arch"), chosen.get("model_type")
        cls = registry.get_model_class(arch) if arch else None
        if cls is None:
            known = registry.list_models()
            hint = did_you_mean(str(arch), known)
            self._errors.append(f"model.arch: no model named {arch!r} is registered. {hint}")
            return None
        types = list(cls.PRETRAINED_MODEL_CONFIG_DICT)
        if model_type not in types:
            hint = did_you_mean(str(model_type), types)
            self._errors.append(f"model.model_type: {arch} has no type {model_type!r}. {hint}")
            return None
        return read_run_file(Path(get_abs_path(cls.PRETRAINED_MODEL_CONFIG_DICT[model_type])))

    def _datasets(self, file: dict, options: dict) -> dict:
        from_file, from_options = file.get("datasets") or {}, options.get("datasets") or {}
        sections = {}
        for name in dict.fromkeys([*from_file, *from_options]):
            given = {**(from_file.get(name) or {}), **(from_options.get(name) or {})}
            if {**from_file, **from_options}[name] is None:
                continue  # `NAME: null` leaves a dataset out
            builder, kind = given.get("builder", name), given.get("type", "default")
            cls = registry.get_builder_class(builder)
            if cls is None:
                known = registry.list_datasets()
                hint = did_you_mean(str(builder), known)
                self._errors.append(
                    f"datasets.{name}: no dataset named {builder!r} is registered. {hint}"
                )
                continue
            if kind not in cls.DATASET_CONFIG_DICT:
                hint = did_you_mean(str(kind), list(cls.DATASET_CONFIG_DICT))
                self._errors.append(f"datasets.{name}.type: {builder} has no {kind!r}. {hint}")
                continue
            defaults = next(
                iter(load_yaml(Path(cls.default_config_path(kind)))["datasets"].values())
            )
            base = {"builder": builder, "type": kind, **defaults}
            path = f"datasets.{name}"
            base = self._merge(base, from_file.get(name), path, self.cfg_path.name)
            sections[name] = self._merge(base, from_options.get(name), path, "--options")
        return sections

    def _resolve(self, merged: dict) -> DictConfig:
        config = OmegaConf.create(merged)
        for parent, key, path in _leaves(config):
            try:
                if OmegaConf.is_missing(parent, key):
                    self._errors.append(_missing(path))
                else:
                    parent[key]
            except InterpolationToMissingValueError:
                pass  # the missing value itself is reported
            except OmegaConfBaseException as error:
                self._errors.append(_unresolved(parent, key, path, error))
        self._raise()
        OmegaConf.resolve(config)
        return config

    def _raise(self) -> None:
        if self._errors:
            listed = "\n".join(f"  - {e}" for e in dict.fromkeys(self._errors))
            raise ConfigError(f"{self.cfg_path} cannot be used:\n{listed}")


def load_config(cfg_path: str | Path, options: list[str] | None = None) -> Config:
    """A `Config` from Python: `load_config("projects/pal/lal_stage1.yaml", ["run.seed=1"])`."""
    return Config(SimpleNamespace(cfg_path=cfg_path, options=options or []))


def parse_options(options: list[str] | None) -> dict:
    """`--options` as nested plain dicts.

    Both forms may be mixed: `["a.b=1", "a.c", "[x, y]"]` gives `{"a": {"b": 1, "c": ["x", "y"]}}`.
    """
    pairs, tokens = [], list(options or [])
    while tokens:
        token = tokens.pop(0)
        if "=" not in token:
            if not tokens:
                raise ConfigError(f"--options: {token!r} has no value; write {token}=VALUE")
            token = f"{token}={tokens.pop(0)}"
        if token.startswith("="):
            raise ConfigError(f"--options: {token!r} has no key; write section.key=VALUE")
        pairs.append(token)
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(pairs), resolve=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"--options {' '.join(pairs)}: {error}") from error


def _leaves(node: Any, path: str = "") -> Any:
    """(parent, key, dotted path) of every value that is not itself a map or a list."""
    keys = list(node) if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        inner = f"{path}.{key}" if path else str(key)
        child = node._get_node(key)
        if OmegaConf.is_config(child) and not (
            child._is_none() or child._is_missing() or child._is_interpolation()
        ):
            yield from _leaves(child, inner)
        else:
            yield node, key, inner


def _missing(path: str) -> str:
    if path == "model.checkpoint":
        return (
            "model.checkpoint: a trained model is needed. Give a run folder, a .safetensors file "
            "or latest:RECIPE; train one with: python train.py --cfg-path projects/pal/"
            "lal_stage1.yaml, then model.checkpoint=latest:lal_stage1 (on real clips: projects/pal/"
            "mini/lal.yaml, then latest:mini_lal)"
        )
    return f"{path}: must be given, for example --options {path}=VALUE"


def _unresolved(parent: Any, key: Any, path: str, error: Exception) -> str:
    raw = parent._get_node(key)._value()
    for name in _environment_names(str(raw)):
        if name not in os.environ:
            return (
                f"{path}: the environment variable {name} is not set (value {raw!r}); "
                f"export {name}=FOLDER or give the key by --options"
            )
    return f"{path}: {raw!r} cannot be resolved: {str(error).splitlines()[0]}"


def _environment_names(raw: str) -> list[str]:
    return [part.split("}")[0].split(",")[0].strip() for part in raw.split("oc.env:")[1:]]
