"""eval_esc50.yaml: its keys reach the dataset, and what is missing is said."""

import cli
import numpy as np
import pytest
import soundfile

from pal_plugin.config.registry import DATASETS
from pal_plugin.config.run_config import load_config
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def clips(tmp_path):
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(1600, 0.1), 16000)
    (tmp_path / "esc.csv").write_text(
        "filename,fold,category\na.wav,5,crying_baby\nb.wav,5,dog\nc.wav,4,rain\n"
    )
    (tmp_path / "other.csv").write_text("file,digit\na.wav,3\nb.wav,7\n")
    return tmp_path


def val_dataset(recipes, *options):
    options = [*options, "model.checkpoint=some.safetensors"]
    cfg = load_config(recipes / "eval_esc50.yaml", options)
    (config,) = cfg.datasets_cfg.values()
    return DATASETS.get(config.builder)(config).build_datasets()["val"]


def test_a_csv_in_the_format_of_esc50(recipes, clips):
    val = val_dataset(recipes, f"data.audio={clips}", f"data.annotations={clips / 'esc.csv'}")
    assert [clip.label for clip in val.clips] == ["crying baby", "dog", "rain"]
    assert val.candidates == ["crying baby", "dog", "rain"]
    assert val.questions == ["What do you hear?"]
    some = val_dataset(
        recipes,
        f"data.audio={clips}",
        f"data.annotations={clips / 'esc.csv'}",
        "data.where={fold: [5]}",
        "data.candidates=[dog, crying baby, rain]",
    )
    assert [clip.label for clip in some.clips] == ["crying baby", "dog"]
    assert some.candidates == ["dog", "crying baby", "rain"]


def test_other_columns_and_another_question(recipes, clips):
    val = val_dataset(
        recipes,
        f"data.audio={clips}",
        f"data.annotations={clips / 'other.csv'}",
        "data.filename_column=file",
        "data.label_column=digit",
        "data.question=Which digit is spoken?",
    )
    assert [clip.label for clip in val.clips] == ["three", "seven"]
    assert val.questions == ["Which digit is spoken?"]


def test_labels_that_training_used_are_those_of_the_map(recipes, script):
    """Each label in splits.csv is what the recipe makes of a published CSV's label."""
    options = ["data.audio=x", "data.annotations=x", "model.checkpoint=x"]
    cfg = load_config(recipes / "eval_esc50.yaml", options)
    texts = set(cfg.datasets_cfg.clips.labels.values())
    rows = script("make_splits")._read(recipes / "splits.csv")
    trained = {r["category"] for r in rows if r["domain"] != "esc10"}
    assert trained == texts


def test_what_is_missing_is_named(recipes, capsys):
    with pytest.raises(ConfigError) as error:
        load_config(recipes / "eval_esc50.yaml", [])
    assert "data.audio" in str(error.value)
    assert "data.annotations" in str(error.value)
    arguments = ["--cfg-path", str(recipes / "eval_esc50.yaml"), "--options"]
    assert cli.evaluate([*arguments, "data.audio=x", "data.annotations=y.csv"]) == 2
    said = capsys.readouterr().err
    assert "model.checkpoint" in said
    assert "pal train mini/lal" in said
