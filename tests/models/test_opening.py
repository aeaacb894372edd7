"""A model is opened by one name: a type, a run, a folder, a hub id, or none."""

import shutil
import subprocess
import sys

import pytest
import torch

from pal_plugin.config.trained import BEST, LAST
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.opening import find_model, open_model
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and a cache without weights."""
    monkeypatch.setenv("PAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run folder with a checkpoint of the pocket model."""
    folder = tmp_path_factory.mktemp("output") / "mine"
    folder.mkdir()
    model = AudioLLM.from_pretrained("lal")
    model.save_checkpoint(folder / BEST, step=3)
    (folder / "config.yaml").write_text("run: {name: lal_stage1}\n")
    return folder


def same(a, b):
    b = b.state_dict()
    return all(torch.equal(tensor, b[name]) for name, tensor in a.state_dict().items())


def test_without_a_name_it_is_small_where_its_weights_are_and_else_lal(here):
    found = find_model()
    assert (found.name, found.kind) == ("lal", "type")
    assert "pal weights get small" in found.description
    for name in ("smollm2-135m-instruct", "whisper-tiny.en"):
        (here / "cache" / "weights" / name).mkdir(parents=True)
    assert find_model().name == "small"


def test_a_type_whose_weights_are_missing_says_how_to_get_them(here, monkeypatch):
    with pytest.raises(ConfigError, match=r"weights://smollm2.*pal weights get small"):
        find_model("small")
    with pytest.raises(ConfigError, match=r"'full' cannot be opened: .*needs values"):
        find_model("full")
    assert "untrained" in find_model("flamingo").description
    monkeypatch.setattr("pal_plugin.models.opening._missing", lambda name: [])
    assert "train them: pal train small/plits)" in find_model("small_plits").description


def test_a_run_is_opened_by_its_folder_its_file_and_as_the_latest(here, run_folder):
    for name in (run_folder, run_folder / BEST, "latest:lal_stage1"):
        found = find_model(name, output_dir=run_folder.parent)
        assert (found.kind, found.location) == ("run", str(run_folder / BEST))
        assert "3 steps" in found.description
    opened = open_model("latest:lal_stage1", output_dir=run_folder.parent, device="cpu")
    assert same(opened, AudioLLM.from_pretrained("lal"))
    assert not opened.training


def test_a_run_without_a_best_checkpoint_gives_its_last(here, run_folder):
    shutil.copytree(run_folder, here / "half")
    (here / "half" / BEST).rename(here / "half" / LAST)
    with pytest.raises(ConfigError, match=r"expected a \.safetensors file with its \.json"):
        find_model("half")
    (here / "half" / BEST).with_suffix(".json").rename((here / "half" / LAST).with_suffix(".json"))
    assert find_model("half").location.endswith(LAST)


@pytest.mark.slow
def test_a_saved_folder_is_opened(here):
    model = AudioLLM.from_pretrained("plits")
    model.save_pretrained(here / "lal")
    assert find_model("lal").kind == "type"
    assert find_model("./lal").kind == "folder"
    assert same(open_model("./lal", device="cpu"), model)


def test_what_is_no_model_names_what_there_is(here, run_folder):
    (here / "empty").mkdir()
    shutil.copytree(run_folder, here / "output" / "mine")
    for name, message in {
        "smal": r"Did you mean 'small'",
        "lal_stage1": r"Did you mean 'latest:lal_stage1'\?",
        "output/mime": r"Did you mean 'output/mine'",  # and not an id of the hub
        "": r"no model ''; expected a type",
        "latest:nothing": r"no trained run of 'nothing'",
        "empty": r"neither a trained run \(.*\) nor a saved model",
        "output": r"contains the runs mine: give one",
    }.items():
        with pytest.raises(ConfigError, match=message):
            find_model(name)


def test_an_id_of_the_hub_is_known_by_its_form(here):
    found = find_model("someone/lal-small")
    assert (found.kind, found.location) == ("hub", "someone/lal-small")


@pytest.mark.slow
def test_a_name_is_looked_up_without_torch():
    code = "import sys; from pal_plugin.models.opening import find_model; find_model('lal')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
