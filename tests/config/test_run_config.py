"""Config: order, strict keys, model types, interpolation, and all problems reported at once."""

from pathlib import Path

import pytest
import yaml

from pal_plugin.config.run_config import load_config, parse_options
from pal_plugin.utils.errors import ConfigError


def problems(toy, *options):
    with pytest.raises(ConfigError) as error:
        toy.config(*options)
    return str(error.value)


def test_the_order_is_package_default_then_run_file_then_options(toy):
    cfg = toy.config("run.seed=7", "run.batch_size_train=9")
    assert cfg.run_cfg.grad_clip == 1.0  # package
    assert cfg.run_cfg.max_epoch == 2  # run file
    assert cfg.run_cfg.batch_size_train == 9  # option over run file (4)
    assert cfg.run_cfg.seed == 7  # option over package
    assert cfg.run_cfg.name == "toy_recipe"


def test_words_for_modes_may_be_yes_or_no(toy):
    for option, value in (("run.tensorboard=false", False), ("run.amp=true", True)):
        key = option.partition("=")[0].removeprefix("run.")
        assert toy.config(option).run_cfg[key] is value


def test_model_type_by_option_loads_that_types_defaults(toy):
    assert toy.config().model_cfg.width == 4
    cfg = toy.config("model.model_type=large")
    assert cfg.model_cfg.width == 16
    assert cfg.model_cfg.model_type == "large"


def test_both_forms_of_options_may_be_mixed():
    assert parse_options(["a.b=1", "a.c", "[x, y]", "d", "k=v"]) == {
        "a": {"b": 1, "c": ["x", "y"]},
        "d": "k=v",
    }
    with pytest.raises(ConfigError, match="has no value"):
        parse_options(["a.b=1", "a.c"])


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("run.ini_lr=1", "'init_lr'"),
        ("runn.seed=1", "'run'"),
        ("model.widht=3", "'width'"),
        ("model.stage.conectors=full", "'connectors'"),
        ("model.encoders.sslam.feature=1", "'features'"),
        ("datasets.toy_tones.build_info.clip=1", "'clips'"),
        ("datasets.toy_tone.build_info.clips=1", "'toy_tones'"),
        ("model.arch=toy_listner", "'toy_listener'"),
        ("model.model_type=smal", "'small'"),
        ("run.task=pal_instruc", "'pal_instruct'"),
        ("run.runner=runner_pall", "'runner_pal'"),
        ("run.lr_sched=pal_warmup_cosin", "'pal_warmup_cosine'"),
    ],
)
def test_an_unknown_name_is_an_error_with_its_neighbours(toy, option, says):
    text = problems(toy, option)
    section, key = option.split("=")[0].split(".")[:2]
    assert f"{section}.{key}" in text or f"{section}:" in text
    assert f"Did you mean {says}" in text


def test_a_key_that_lives_one_level_deeper_is_pointed_to(toy):
    assert "'model.stage.llm'" in problems(toy, "model.llm=lora")


def test_all_problems_are_reported_together(toy):
    text = problems(toy, "run.ini_lr=1", "model.widht=3", "run.max_epoch=many")
    assert "run.ini_lr" in text
    assert "model.widht" in text
    assert "run.max_epoch: expected a number (such as 2), got 'many'" in text


@pytest.mark.parametrize(
    "option", ["run.masked_audio=3", "run.seed=true", "run.valid_splits=val", "model.stage=full"]
)
def test_a_value_of_another_kind_is_an_error(toy, option):
    assert f"{option.split('=')[0]}: expected" in problems(toy, option)


def test_free_maps_take_new_names(toy):
    cfg = toy.config(
        "model.encoders.second={type: sslam, features: {window_s: 2.0}}",
        "model.encoders.sslam.features.n_mels=64",
        "run.train_dataset_ratios={toy_tones: 2}",
    )
    assert cfg.model_cfg.encoders.second.features.window_s == 2.0
    assert cfg.model_cfg.encoders.sslam.features == {"window_s": 1.0, "n_mels": 64}
    eval_processor = cfg.datasets_cfg.toy_tones.audio_processor.eval
    assert set(eval_processor.encoders) == {"sslam", "second"}  # interpolation across sections


def test_a_list_is_replaced_whole(toy):
    assert list(toy.config("run.valid_splits=[a, b]").run_cfg.valid_splits) == ["a", "b"]


def test_an_unset_environment_variable_is_named(toy, monkeypatch):
    monkeypatch.delenv("PAL_DATA", raising=False)
    option = "datasets.toy_tones.build_info.storage=${oc.env:PAL_DATA}/x"
    text = problems(toy, option)
    assert "PAL_DATA is not set" in text
    assert "datasets.toy_tones.build_info.storage" in text
    monkeypatch.setenv("PAL_DATA", "somewhere")
    assert toy.config(option).datasets_cfg.toy_tones.build_info.storage == "somewhere/x"


def test_values_of_the_run_file_feed_other_sections_and_must_be_given(toy):
    recipe = yaml.safe_load(toy.recipe.read_text())
    recipe["data"] = {"folder": "???"}
    recipe["datasets"]["toy_tones"]["build_info"]["storage"] = "${data.folder}"
    toy.recipe.write_text(yaml.safe_dump(recipe))
    text = problems(toy)
    assert "data.folder: must be given" in text
    assert text.count("\n") == 1  # the interpolation is not reported a second time
    cfg = toy.config("data.folder=here")
    assert cfg.datasets_cfg.toy_tones.build_info.storage == "here"
    assert "data.foldr" in problems(toy, "data.foldr=here")


def test_a_missing_checkpoint_says_how_to_train_one(toy):
    assert "pal train lal_stage1" in problems(toy, "model.checkpoint=???")


def test_a_missing_file_names_what_is_beside_it(toy):
    with pytest.raises(ConfigError, match=r"toy_recipe\.yaml"):
        load_config(toy.folder / "toy_recip.yaml")


def test_one_builder_serves_several_datasets_and_null_leaves_one_out(toy):
    second = f"datasets.more={{builder: toy_tones, build_info: {{storage: '{toy.shards}'}}}}"
    cfg = toy.config(second)
    assert set(cfg.datasets_cfg) == {"toy_tones", "more"}
    assert cfg.datasets_cfg.more.items_per_clip == 2
    assert "datasets.more.item_per_clip" in problems(toy, second, "datasets.more.item_per_clip=1")
    assert set(toy.config(second, "datasets.toy_tones=null").datasets_cfg) == {"more"}


def test_the_resolved_configuration_is_a_run_file_itself(toy):
    cfg = toy.config("model.model_type=large", "run.seed=3")
    cfg.save(toy.folder / "config.yaml")
    again = load_config(toy.folder / "config.yaml", None)
    assert again.to_dict() == cfg.to_dict()
    assert "${" not in (toy.folder / "config.yaml").read_text()


def test_defaults_of_every_shipped_dataset_can_be_read_alone():
    from lavis.common.registry import registry
    from lavis.datasets.builders import load_dataset_config

    for name in ("pal_soundworld", "pal_spoken", "pal_clips"):
        cls = registry.get_builder_class(name)
        settings = load_dataset_config(cls.default_config_path())
        assert settings.audio_processor.eval.name == "pal_audio"
        assert settings.audio_processor.eval.encoders is None


@pytest.mark.parametrize("option", ["model=lal", "datasets=3", "run=fast"])
def test_a_value_in_place_of_a_section_is_an_error(option):
    recipe = Path(__file__).resolve().parents[2] / "projects" / "pal" / "lal_stage1.yaml"
    with pytest.raises(ConfigError, match="expected a section of keys"):
        load_config(recipe, [option])


@pytest.mark.parametrize(
    "option",
    [
        *("run.task=[pal_instruct]", "model.arch=[a]", "model.model_type=[a]", "model.arch={a: 1}"),
        *("datasets.toy_tones=3", "datasets.toy_tones.builder=[a]", "datasets.toy_tones.type=[a]"),
    ],
)
def test_a_name_that_is_no_text_is_an_error(toy, option):
    assert option.split("=")[0].removesuffix(".builder") in problems(toy, option)


def test_what_is_only_evaluated_needs_no_split_to_train_on(toy):
    assert "run.train_splits is empty" in problems(toy, "run.train_splits=[]")
    cfg = load_config(toy.recipe, ["run.train_splits=[]"], evaluating=True)
    assert (cfg.train_splits, cfg.evaluated_splits) == ((), ("val",))
