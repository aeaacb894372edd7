"""What the keys of a run may be."""

import math

import pytest
import yaml

from pal_plugin.config.merging import flat
from pal_plugin.config.ranges import RANGES, kind_of, problems
from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.registry import CONFIGS
from pal_plugin.config.run_config import RUN_DEFAULTS, load_config

DEFAULTS = [RUN_DEFAULTS, *CONFIGS.glob("models/*.yaml"), *CONFIGS.glob("datasets/*.yaml")]
#: Numbers that are not checked, and why.
UNCHECKED = ("run.evaluation.", "build_info.annotations.")  # names of what is read elsewhere


def default_values():
    """(path, value) of every number, and list of numbers, in the package's defaults."""
    for file in DEFAULTS:
        sections = yaml.safe_load(file.read_text())
        for path, value in flat(sections).items():
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, int | float) and not isinstance(first, bool):
                yield path, value


def test_every_number_among_the_defaults_has_a_range_and_is_in_it():
    without = {p for p, _ in default_values() if kind_of(p) is None}
    assert {p for p in without if not any(part in p for part in UNCHECKED)} == set()
    assert [
        f"{p} {v}" for p, v in default_values() if p not in without and not kind_of(p).holds(v)
    ] == []


def test_each_entry_is_of_a_key_that_there_is():
    run = yaml.safe_load(RUN_DEFAULTS.read_text())["run"]
    named = {pattern.split(".")[1] for pattern in RANGES if pattern.startswith("run.")}
    assert named <= set(run)


def test_the_packages_own_recipes_pass(monkeypatch):
    monkeypatch.setenv("PAL_DATA", "data")
    for name in ("lal_stage1", "flamingo_stage3", "mini/lal", "small/lal", "small/align"):
        cfg = load_config(find_recipes([name]), ["model.checkpoint=null"])
        assert problems(cfg.to_dict()) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("run.shard_streams", 0, "a whole number, 1 or more, at most 100000, or null"),
        ("run.keep_checkpoints", 0, "a whole number, 1 or more"),
        ("run.steps_per_epoch", 2.5, "a whole number, 1 or more, or null"),
        ("run.max_minutes", 0, "a number, 0.01 or more, at most 1e+07, or null"),
        ("run.eval_limit", 0, "a whole number, 1 or more, or null"),
        (
            "run.torch_threads",
            "all",
            "a whole number, 1 or more, at most 1024, or auto, or null",
        ),
        ("run.num_workers", -1, "a whole number, 0 or more, at most 1024"),
        ("run.num_workers", 1e9, "a whole number, 0 or more, at most 1024"),
        ("run.beta2", 1, "a number, 0 or more, less than 1"),
        ("run.on_nonfinite", "go", "stop or skip"),
        ("run.amp", 1, "none (fp32), bf16 or fp16"),
        ("run.parallel", "dp", "one of ddp, fsdp"),
        ("run.max_epoch", True, "a whole number, 0 or more"),
        ("run.seed", None, "a whole number, 0 or more, at most 9.22337e+18"),
        ("run.grad_clip", 0, "a number above 0, or null"),
        ("run.lr_scale.lora", -1, "a number, 0 or more"),
        ("run.output_dir", "", "a text"),
        ("run.name", "a/b", "a folder name, without / and \\"),
        ("run.evaluation.caption.tokenizer", "word", "one of auto, ptb, plain"),
        ("run.generation.do_sample", "word", "true or false, or null"),
        ("run.train_splits", [1], "a list of any number, each a text, or null"),
        ("run.generation.top_p", 1.5, "a number above 0, at most 1, or null"),
        ("model.llm", None, "a section of keys"),
        ("model.lal_gain", float("nan"), "a number above 0, or null"),
        ("model.stage.lora_rank", 0, "a whole number, 1 or more, at most 65536"),
        ("model.encoders.mine.features.window_s", math.inf, "a number above 0, at most 3600"),
        ("model.connectors.speech.args.pool", "two", "a whole number, 1 or more, at most 1e+06"),
        (
            "model.connectors.general.args.grid",
            [16],
            "a list of 2, each a whole number, 1 or more, at most 4096",
        ),
        ("datasets.mine.questions.caption", [1], "a text, or null"),
        ("datasets.mine.items_per_clip", 0, "a whole number, 1 or more, at most 1000"),
        (
            "datasets.mine.build_info.clips.train",
            -1,
            "a whole number, 0 or more, at most 1e+07, or null",
        ),
        (
            "datasets.mine.audio_processor.train.augment.gain_db",
            [3, -3],
            "[low, high], each a number, or null",
        ),
    ],
)
def test_what_is_out_of_its_range_is_told(key, value, told):
    config = value
    for name in reversed(key.split(".")):
        config = {name: config}
    assert problems(config) == [f"{key} is {value!r}; expected {told}"]


def test_a_route_is_checked_alone_and_in_a_list():
    way = {"integration": "lal", "layers": "all"}
    told = f"is 'all'; expected {kind_of('model.routing.a.layers')}"
    assert problems({"model": {"routing": {"a": way}}}) == [f"model.routing.a.layers {told}"]
    found = problems({"model": {"routing": {"a": [{"integration": "plits"}, way]}}})
    assert found == [f"model.routing.a.1.layers {told}"]


def test_a_map_in_place_of_a_number_is_told():
    (found,) = problems({"run": {"max_minutes": {"a": 1}}})
    assert found.startswith("run.max_minutes is {'a': 1}; expected a number, 0.01 or more")


def test_a_configuration_tells_all_of_them_and_is_not_changed(toy):
    from omegaconf.errors import ReadonlyConfigError

    from pal_plugin.utils.errors import ConfigError

    with pytest.raises(ConfigError) as error:
        toy.config("run.shard_streams=0", "run.amp=fp8")
    assert "run.shard_streams is 0" in str(error.value)
    assert "run.amp is 'fp8'" in str(error.value)
    cfg = toy.config()
    with pytest.raises(ReadonlyConfigError):
        cfg.run_cfg.seed = 3
    assert cfg.changed(run={"seed": 3}).run_cfg.seed == 3
    assert cfg.run_cfg.seed == 42


def test_a_count_may_be_written_with_an_exponent(toy):
    cfg = toy.config("run.steps_per_epoch=1e3", "run.init_lr=1", "run.max_minutes=2.0")
    steps = cfg.run_cfg.steps_per_epoch
    assert (steps, type(steps)) == (1000, int)
    assert type(cfg.run_cfg.max_minutes) is float
