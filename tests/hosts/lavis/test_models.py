"""The model as LAVIS knows it: where it comes from, and in which mode."""

import pytest
import torch
from omegaconf import OmegaConf

import pal_plugin  # noqa: F401  (before lavis, which does not import without the shims)

pytest.importorskip("lavis", reason="LAVIS is not installed")

from pal_plugin.config.registry import MODELS, defaults_of
from pal_plugin.config.zoo import MODEL_TYPES
from pal_plugin.hosts.lavis.models import PALModel


@pytest.fixture
def run(tiny_config, tmp_path):
    """A run folder, and the model that was trained in it."""
    model = PALModel.from_config(tiny_config("lal")).eval()
    # The encoders are random, so a second model's would be others; their weights go along.
    model.note_loaded({f"encoders.{name}" for name in model.encoders})
    model.save_checkpoint(tmp_path / "checkpoint_best")
    return tmp_path, model


def test_the_model_of_a_run_is_ready_to_ask(run, two_clips):
    folder, trained = run
    model = PALModel.from_run(folder)
    assert not any(module.training for module in model.modules())
    ask = {"audio": two_clips["audio"], "text_input": two_clips["text_input"]}
    expected = trained.predict_class(ask, ["bell", "rain"])["scores"]
    for _ in range(2):
        scores = model.predict_class(ask, ["bell", "rain"])["scores"]
        assert torch.equal(scores, expected)


def test_from_pretrained_says_what_it_takes():
    with pytest.raises(ValueError, match=rf"expected a type \({', '.join(MODEL_TYPES)}\)"):
        PALModel.from_pretrained()
    with pytest.raises(ValueError, match="dtype, llm: a model type does not accept overrides"):
        PALModel.from_pretrained("lal", dtype="bfloat16", llm="elsewhere")


def test_a_type_by_its_name_is_in_eval_mode():
    assert not PALModel.from_pretrained("lal").training
    assert PALModel.from_pretrained(model_type="lal").training


def test_lavis_reads_a_type_on_top_of_its_base():
    config = OmegaConf.load(PALModel.default_config_path("pal"))
    assert config.model.routing.speech.integration == "plits"
    assert config.model.llm.path == "pocket://llm"
    eval_processor = config.preprocess.vis_processor.eval
    assert eval_processor.encoders.whisper == config.model.encoders.whisper
    with pytest.raises(ValueError, match="unknown model type 'pall'. Did you mean 'pal'"):
        PALModel.default_config_path("pall")


def test_a_subclass_has_the_types_that_it_names(monkeypatch):
    class Mine(PALModel):
        PRETRAINED_MODEL_CONFIG_DICT = {"small": str(MODEL_TYPES["lal"])}  # noqa: RUF012

    monkeypatch.setitem(MODELS.entries, "mine", Mine)
    assert defaults_of(MODELS, "mine") == {"small": MODEL_TYPES["lal"]}
    assert OmegaConf.load(Mine.default_config_path("small")).model.model_type == "lal"
    assert type(Mine.from_pretrained(model_type="small")) is Mine
    assert not Mine.from_pretrained("small").training
    with pytest.raises(ValueError, match=r"expected a type \(small\)"):
        Mine.from_pretrained()


@pytest.mark.parametrize("load", ["load_model", "load_model_and_preprocess"])
def test_an_architecture_that_lavis_does_not_know_is_told_by_name(load):
    from lavis import models

    with pytest.raises(ValueError, match="LAVIS has no model 'pall'. Did you mean .*'pal'"):
        getattr(models, load)("pall", "lal")
    with pytest.raises(ValueError, match="unknown model type 'lall'. Did you mean 'lal'"):
        getattr(models, load)(name="pal", model_type="lall")
