"""The configuration of a run: package defaults, a run file (on top of its `base`), --options.

Unknown keys are errors, all problems are reported at once, and a configuration is immutable: a
command that must change a value (such as a resolved checkpoint) makes a new one by `changed`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from pal_plugin.config.merging import merge_plain, merge_strict
from pal_plugin.config.ranges import problems, with_whole_numbers
from pal_plugin.config.recipes import PART_KEYS, parts
from pal_plugin.config.registry import (
    CONFIGS,
    DATASETS,
    MODELS,
    RUNNERS,
    SCHEDULES,
    TASKS,
    Registry,
    defaults_of,
)
from pal_plugin.config.run_files import SECTIONS, load_yaml, read_run_file, read_run_files
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

RUN_DEFAULTS = CONFIGS / "runs" / "default.yaml"
_DEVICE = re.compile(r"auto|[a-z]+(:\d+)?")


class RunConfig:
    """The resolved configuration of a run, read-only.

    Args:
        config: its sections, resolved.
        source: its files, for messages.
        evaluating: whether the run only evaluates, whatever `run.evaluate` is.

    Attributes:
        train_splits, valid_splits, test_splits: of `run:`; train splits are empty if nothing is
            trained.
        evaluated_splits: valid and test splits without duplicates; the first one selects the best
            checkpoint.

    Raises:
        ConfigError: invalid values (`ranges`), or splits that contradict each other.
    """

    def __init__(self, config: DictConfig, source: str, *, evaluating: bool = False) -> None:
        config = OmegaConf.create(with_whole_numbers(OmegaConf.to_container(config)))
        OmegaConf.set_readonly(config, True)
        self.config, self.source = config, source
        run = config.run
        evaluates = evaluating or bool(run.evaluate)
        self.valid_splits = tuple(run.valid_splits or ())
        self.test_splits = tuple(run.test_splits or ())
        self.evaluated_splits = tuple(dict.fromkeys([*self.valid_splits, *self.test_splits]))
        self.train_splits = () if evaluates else tuple(run.train_splits or ())
        found = problems(OmegaConf.to_container(config))
        if not _DEVICE.fullmatch(str(run.device)):
            found.append(f"run.device is {run.device!r}; expected auto, cpu, cuda or cuda:1")
        if evaluates and not self.evaluated_splits:
            found.append("nothing to evaluate: run.valid_splits and run.test_splits are empty")
        if not evaluates and not self.train_splits:
            found.append("run.train_splits is empty; expected a split to train on")
        for split in set(self.train_splits) & set(self.evaluated_splits):
            found.append(
                f"the split {split!r} is trained on and evaluated: training streams are infinite, "
                "and the metrics would be meaningless; evaluate another split"
            )
        _raise(found, source)

    # LAVIS's names of the sections

    @property
    def run_cfg(self) -> DictConfig:
        """The section `run`."""
        return self.config.run

    @property
    def model_cfg(self) -> DictConfig:
        """The section `model`."""
        return self.config.model

    @property
    def datasets_cfg(self) -> DictConfig:
        """The section `datasets`."""
        return self.config.datasets

    @cached_property
    def device_name(self) -> str:
        """`run.device`, with auto resolved to cuda if available, else cpu.

        Raises:
            ConfigError: cuda is not available.
        """
        import torch

        name, there = str(self.run_cfg.device), torch.cuda.is_available()
        if name.startswith("cuda") and not there:
            raise ConfigError(f"run.device is {name}, but torch sees no cuda device; use auto")
        return ("cuda" if there else "cpu") if name == "auto" else name

    def changed(self, **sections: Mapping[str, Any]) -> RunConfig:
        """A changed copy: `changed(run={"evaluate": True}, model={"checkpoint": path})`."""
        merged = merge_plain(OmegaConf.to_container(self.config), sections)
        return RunConfig(OmegaConf.create(merged), self.source)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain dicts and lists."""
        return OmegaConf.to_container(self.config)

    def save(self, path: Path) -> None:
        """Write the configuration as YAML, which is a valid run file."""
        path.write_text(OmegaConf.to_yaml(self.config), encoding="utf-8")

    def pretty_print(self) -> None:
        """Log the sections as YAML."""
        for name in self.config:
            logging.info("%s:\n%s", name, OmegaConf.to_yaml(self.config[name]).rstrip())


def load_config(
    recipe: str | Path | Sequence[str | Path],
    options: Sequence[str] | None = None,
    *,
    model_base: dict[str, Any] | None = None,
    evaluating: bool = False,
) -> RunConfig:
    """`load_config("projects/pal/lal_stage1.yaml", ["run.seed=1"])`.

    Args:
        recipe: a run YAML, or several that are merged in order.
        options: "a.b=c", or "a.b" followed by "c".
        model_base: a model section that replaces both the model type's defaults and the run file's
            model section, to evaluate a checkpoint with the model it was trained with.
        evaluating: as in `RunConfig`.

    Raises:
        ConfigError: lists all problems, one per line.
    """
    paths = [Path(p) for p in ([recipe] if isinstance(recipe, str | Path) else recipe)]
    file, given = read_run_files(paths), parse_options(options)
    merging = _Merging("+".join(path.name for path in paths), file, given)
    merged = {
        "data": merging.section(file.get("data") or {}, "data", from_file=False),
        **merging.model(model_base),
        "datasets": merging.datasets(),
        "run": merging.run("+".join(path.stem for path in paths)),
    }
    source = " + ".join(map(str, paths))
    _raise(merging.errors, source)
    return RunConfig(_resolved(merged, source), source, evaluating=evaluating)


class _Merging:
    """Merges defaults, run file and options by section; problems are collected in `errors`."""

    def __init__(self, name: str, file: dict[str, Any], options: dict[str, Any]) -> None:
        self.name, self.file, self.options = name, file, options
        self.errors: list[str] = []
        for where, given in ((name, file), ("--options", options)):
            for section, value in given.items():
                if value is not None and not isinstance(value, dict):
                    raise ConfigError(f"{section}: expected a section of keys, got {value!r}")
                if section not in SECTIONS:
                    self.errors.append(
                        f"{section}: unknown key {section!r} in {where}. "
                        f"{did_you_mean(section, SECTIONS)}"
                    )

    def section(self, base: dict, path: str, *, from_file: bool = True) -> dict:
        """`base` overridden by the run file and the options at `path`."""
        first, _, name = path.partition(".")
        sources = [(self.name, self.file)] if from_file else []
        for where, given in (*sources, ("--options", self.options)):
            over = given.get(first)
            if name:
                over = (over or {}).get(name)
            if over is not None:
                base = merge_strict(base, over, source=where, errors=self.errors, path=path)
        return base

    def run(self, name: str) -> dict:
        run = self.section(load_yaml(RUN_DEFAULTS)["run"], "run")
        run["name"] = str(run.get("name") or name)
        for key, known in (("runner", RUNNERS), ("task", TASKS), ("lr_sched", SCHEDULES)):
            if run.get(key) not in known:
                self.errors.append(f"run.{key}: {known.unknown(run.get(key))}")
        return run

    def model(self, model_base: dict | None) -> dict[str, dict]:
        """The sections `model` and `preprocess`."""
        if model_base is not None:
            return {"model": self.section(model_base, "model", from_file=False), "preprocess": {}}
        chosen = {**(self.file.get("model") or {}), **(self.options.get("model") or {})}
        arch, kind = chosen.get("arch"), chosen.get("model_type")
        place = self._defaults(MODELS, "model", arch, kind, "arch", "model_type")
        if place is None:
            return {"model": {}, "preprocess": {}}
        # The YAML of a type may omit the two names that select it.
        defaults = merge_plain({"model": {"arch": arch, "model_type": kind}}, read_run_file(place))
        return {n: self.section(defaults.get(n) or {}, n) for n in ("model", "preprocess")}

    def datasets(self) -> dict[str, dict]:
        """Sections by dataset name; `NAME: null` removes one."""
        given = [s.get("datasets") or {} for s in (self.file, self.options)]
        sections = {}
        for name, last in {**given[0], **given[1]}.items():
            if last is None:
                continue
            stray = [s[name] for s in given if not isinstance(s.get(name), dict | None)]
            if stray:
                self.errors.append(f"datasets.{name}: expected a section of keys, got {stray[0]!r}")
                continue
            chosen = {**(given[0].get(name) or {}), **(given[1].get(name) or {})}
            builder, kind = chosen.get("builder", name), chosen.get("type", "default")
            place = self._defaults(DATASETS, f"datasets.{name}", builder, kind, "", "type")
            if place is not None:
                (defaults,) = load_yaml(place)["datasets"].values()
                base = {"builder": builder, "type": kind, **defaults}
                sections[name] = self.section(base, f"datasets.{name}")
        return sections

    def _defaults(
        self, known: Registry, path: str, name: Any, kind: Any, name_key: str, kind_key: str
    ) -> Path | None:
        """The YAML of a class's defaults; None if there is none, with the reason in `errors`."""
        if name is None and known is MODELS:
            self.errors.append(
                "model.arch: expected a value, such as pal; for a full-size recipe add a stage "
                f"({', '.join(parts('stage'))})"
            )
            return None
        if name not in known:
            where = f"{path}.{name_key}" if name_key else path
            self.errors.append(f"{where}: {known.unknown(name)}")
            return None
        kinds = defaults_of(known, name)
        if not isinstance(kind, str) or kind not in kinds:
            hint = did_you_mean(str(kind), list(kinds))
            self.errors.append(f"{path}.{kind_key}: {name} has no type {kind!r}. {hint}")
            return None
        return kinds[kind]


def _resolved(merged: dict, source: str) -> DictConfig:
    config, errors = OmegaConf.create(merged), []
    for parent, key, path in _leaves(config):
        try:
            if OmegaConf.is_missing(parent, key):
                errors.append(_missing(path))
            else:
                parent[key]
        except InterpolationToMissingValueError:
            pass  # the missing value itself is reported
        except OmegaConfBaseException as error:
            errors.append(_unresolved(parent, key, path, error))
    _raise(errors, source)
    OmegaConf.resolve(config)
    return config


def _raise(errors: Sequence[str], source: str) -> None:
    if errors:
        listed = "\n".join(f"  - {error}" for error in dict.fromkeys(errors))
        raise ConfigError(f"{source} cannot be used:\n{listed}")


def parse_options(options: Sequence[str] | None) -> dict:
    """`--options` as nested plain dicts.

    Both forms may be mixed: `["a.b=1", "a.c", "[x, y]"]` gives `{"a": {"b": 1, "c": ["x", "y"]}}`.

    Raises:
        ConfigError: a key without a value, a value without a key, or invalid YAML.
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


def _leaves(node: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
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
            "model.checkpoint: expected a trained model: a run folder, a .safetensors file or "
            "latest:RECIPE. Train one with: pal train lal_stage1, then use "
            "model.checkpoint=latest:lal_stage1 (on recorded clips: pal train mini/lal, then "
            "latest:mini_lal)"
        )
    for kind, (section, key) in PART_KEYS.items():
        if path == f"{section}.{key}":
            listed = ", ".join(parts(kind))
            return f"{path}: must be given; add one of {listed}, or --options {path}=NAME"
    return f"{path}: must be given, for example --options {path}=VALUE"


def _unresolved(parent: Any, key: Any, path: str, error: Exception) -> str:
    raw = parent._get_node(key)._value()
    for name in _environment_names(str(raw)):
        if name not in os.environ:
            return (
                f"{path}: the environment variable {name} is not set (value {raw!r}); "
                f"export {name}=FOLDER or set the key by --options"
            )
    return f"{path}: {raw!r} cannot be resolved: {str(error).splitlines()[0]}"


def _environment_names(raw: str) -> list[str]:
    return [part.split("}")[0].split(",")[0].strip() for part in raw.split("oc.env:")[1:]]
