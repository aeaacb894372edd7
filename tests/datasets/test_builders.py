"""`run.train_splits` says which splits a builder makes for training, not their names."""

import pytest
from omegaconf import OmegaConf

pytest.importorskip("lavis", reason="LAVIS is not installed")

from pal_plugin.config.run_config import load_config
from pal_plugin.corpora.readers.speech import DIGITS
from pal_plugin.datasets.builders import Builder
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

SPLITS = ("train", "extra", "val")


@pytest.fixture
def build(tmp_path, monkeypatch):
    """build(name, settings, train_splits) -> datasets by split, as a run has them."""

    whole = Builder.processor

    def marked(self, kind, train):
        processor = whole(self, kind, train)
        processor.of_training = train
        return processor

    monkeypatch.setattr(Builder, "processor", marked)

    def make(name, settings, train_splits=("train", "extra")):
        path = tmp_path / "run.yaml"
        model = {"arch": "pal", "model_type": "lal"}
        OmegaConf.save(OmegaConf.create({"model": model, "datasets": {name: settings}}), path)
        cfg = load_config(path)
        others = [split for split in SPLITS if split not in train_splits]
        cfg = cfg.changed(run={"train_splits": list(train_splits), "valid_splits": others})
        return InstructTask().build_datasets(cfg)[name]

    return make


def kinds(datasets):
    """Which datasets train, and that each has the processor that goes with it."""
    for dataset in datasets.values():
        assert dataset.audio_processor.of_training == dataset.train
        assert not hasattr(dataset, "text_processor") or (
            dataset.text_processor.of_training == dataset.train
        )
    return {split: dataset.train for split, dataset in datasets.items()}


EXPECTED = {"train": True, "extra": True, "val": False}


def test_shards(build, make_shard):
    paths = {split: str(make_shard(f"{split}.tar", {"a": None, "b": None})) for split in SPLITS}
    settings = {"build_info": {"shards": paths, "counts": {"val": 2}}}
    assert kinds(build("pal_shards", settings)) == EXPECTED
    with pytest.raises(ConfigError, match=r"set build_info\.counts\.extra"):
        build("pal_shards", settings, ["train"])


def annotated(csv, **more):
    def rows(*takes):
        return {**more, "where": {"fold": list(takes)}}

    return {"train": rows(1), "extra": rows(2), "val": rows(3)}


@pytest.fixture
def esc(tmp_path):
    """Two clips in each of three folds, of which a part may be broken: (folder, CSV)."""
    from .conftest import audio_bytes

    folder = tmp_path / "audio"
    folder.mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(6):
        (folder / f"{number}.wav").write_bytes(audio_bytes(form="WAV"))
        lines.append(
            f"{number}.wav,{number // 2 + 1},0,{'bell' if number % 2 else 'rain'},True,1,A"
        )
    (tmp_path / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder, tmp_path / "esc50.csv"


@pytest.mark.parametrize(("name", "key"), [("pal_clips", "storage"), ("pal_esc50", "files")])
def test_clips_with_annotations(build, esc, name, key):
    folder, csv = esc
    (folder / "2.wav").write_bytes(b"not audio")
    (folder / "3.wav").unlink()
    annotations = annotated(csv, **{key: str(csv)})
    info = {"audio": {"storage": str(folder)}, "annotations": annotations}
    datasets = build(name, {"build_info": info})
    assert kinds(datasets) == EXPECTED
    assert len(datasets["extra"]) == 1
    assert isinstance(datasets["extra"][0], SkippedClip)
    with pytest.raises(ConfigError, match="extra"):  # evaluated, it may miss nothing
        build(name, {"build_info": info}, ["train"])


def test_the_mixture_of_domains(build, esc, tmp_path):
    folder, _ = esc
    lines = ["filename,category,domain,split,group"]
    lines += [
        f"{n}.wav,{'bell' if n % 2 else 'rain'},a,{'val' if n > 3 else 'train'},g" for n in range(6)
    ]
    (tmp_path / "splits.csv").write_text("\n".join(lines) + "\n")
    domain = {"domain": "a", "train": "train", "val": "val", "weight": 1.0, "questions": ["What?"]}
    info = {"audio": {"storage": str(folder)}, "annotations": str(tmp_path / "splits.csv")}
    domains = {"esc10": domain, "digits": None, "digits_unseen_speaker": None, "instruments": None}
    built = build("pal_mini", {"build_info": info, "domains": domains}, ["train"])
    assert {split: getattr(data, "train", False) for split, data in built.items()} == {
        "train": True,
        "val": False,
    }
    built = build("pal_mini", {"build_info": info, "domains": domains}, ["val"])
    assert {split: getattr(data, "train", False) for split, data in built.items()} == {
        "train": False,
        "val": True,
    }


def test_spoken_clips_and_digits(build, tmp_path):
    info = {"storage": str(tmp_path), "clips": {"train": 9, "val": 9, "test": 0}, "digits": 0.4}
    built = build("pal_spoken", {"build_info": info}, ["train"])
    assert kinds(built) == {"train": True, "val": False}
    asked = [item for clip in built["val"] for item in clip["items"]]
    assert {item["task"] for item in asked} == {"classification", "transcript"}
    digits = [item for item in asked if item["question_type"] == "spoken_digits"]
    assert len(digits) == 3
    assert digits[0]["candidates"] == list(DIGITS)


def test_spoken_clips_refuse_what_they_do_not_know(build, tmp_path):
    with pytest.raises(ConfigError, match="did you mean|Did you mean"):
        build("pal_spoken", {"build_info": {"storage": str(tmp_path), "digit": 0.4}})
