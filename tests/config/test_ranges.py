"""What the keys of `run:` may be."""

import pytest
import yaml

from pal_plugin.config.ranges import RANGES, problems
from pal_plugin.config.run_config import RUN_DEFAULTS


def test_the_defaults_are_in_their_ranges_and_the_table_names_no_other_key():
    run = yaml.safe_load(RUN_DEFAULTS.read_text())["run"]
    assert problems(run) == []
    assert set(RANGES) <= set(run)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("lanes", 0, "expected 1 or more, or null"),
        ("keep_checkpoints", 0, "expected 1 or more"),
        ("steps_per_epoch", 2.5, "expected 1 or more, or null"),
        ("max_minutes", 0, "expected 0.01 or more, or null"),
        ("eval_limit", 0, "expected 1 or more, or null"),
        ("torch_threads", "all", "expected 1 or more, or auto, or null"),
        ("num_workers", -1, "expected a whole number, 0 or more"),
        ("beta2", 1, "expected 0 or more and less than 1"),
        ("on_nonfinite", "go", "expected stop or skip"),
        ("amp", 1, "expected none (fp32), bf16 or fp16"),
        ("parallel", "dp", "expected one of ddp, fsdp"),
        ("max_epoch", True, "expected a whole number, 0 or more"),
        ("seed", None, "expected a whole number, 0 or more"),
    ],
)
def test_what_is_out_of_its_range_is_told(key, value, told):
    assert problems({key: value}) == [f"run.{key} is {value!r}; {told}"]


def test_rates_by_component_are_checked_too():
    assert problems({"lr_scale": {"lora": -1}}) == ["run.lr_scale.lora is -1; expected 0 or more"]


def test_a_configuration_tells_all_of_them_and_is_not_changed(toy):
    from omegaconf.errors import ReadonlyConfigError

    from pal_plugin.utils.errors import ConfigError

    with pytest.raises(ConfigError) as error:
        toy.config("run.lanes=0", "run.amp=fp8")
    assert "run.lanes is 0" in str(error.value)
    assert "run.amp is 'fp8'" in str(error.value)
    cfg = toy.config()
    with pytest.raises(ReadonlyConfigError):
        cfg.run_cfg.seed = 3
    assert cfg.changed(run={"seed": 3}).run_cfg.seed == 3
    assert cfg.run_cfg.seed == 42
