"""Public datasets through their builders: original files, shards, and what is missing."""

import json
from itertools import islice

import pytest
from omegaconf import OmegaConf

from pal_plugin.audio.io import AudioError
from pal_plugin.config.registry import DATASETS
from pal_plugin.config.run_config import load_config
from pal_plugin.corpora.readers import READERS
from pal_plugin.corpora.shards.convert import convert
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.utils.errors import ConfigError

from .conftest import audio_bytes

LABELS = ("bell", "drip", "rain")


@pytest.fixture
def esc(tmp_path):
    """An ESC-50 of nine clips in three folds: (folder, CSV)."""
    folder = tmp_path / "audio"
    folder.mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(9):
        (folder / f"{number}.wav").write_bytes(audio_bytes(form="WAV"))
        lines.append(f"{number}.wav,{number // 3 + 1},0,{LABELS[number % 3]},True,1,A")
    (tmp_path / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder, tmp_path / "esc50.csv"


@pytest.fixture
def build(tmp_path):
    """build("pal_esc50", {...}) -> datasets by split, by way of a run file as in training."""

    def make(name, info, splits=None, **settings):
        run = {
            "model": {"arch": "pal", "model_type": "lal"},
            "datasets": {name: {"build_info": info, **settings}},
        }
        path = tmp_path / "run.yaml"
        OmegaConf.save(OmegaConf.create(run), path)
        config = load_config(path).datasets_cfg[name]
        builder = DATASETS.get(name)(config)
        builder.splits = splits
        return builder.build_datasets()

    return make


def info_of(folder, csv, **more):
    split = {
        "train": {"files": str(csv), "where": {"fold": [1, 2]}},
        "val": {"files": [str(csv)], "where": {"fold": 3}},
    }
    return {"audio": {"storage": str(folder)}, "annotations": split, **more}


def test_original_files_need_no_conversion(esc, build):
    datasets = build("pal_esc50", info_of(*esc))
    assert {split: len(dataset) for split, dataset in datasets.items()} == {"train": 6, "val": 3}
    clip = datasets["val"][0]
    assert clip["sample_id"] == "6"
    (item,) = clip["items"]
    assert item["answer"] == "bell"
    assert item["candidates"] == list(LABELS)
    assert item["question"].startswith("Close-ended question:")
    batch = datasets["val"].collater([datasets["val"][n] for n in range(3)])
    assert batch["text_output"] == list(LABELS)


def test_the_general_name_takes_the_format(esc, build):
    datasets = build("pal_corpus", info_of(*esc, format="esc50"))
    assert len(datasets["train"]) == 6
    with pytest.raises(ConfigError, match=r"set build_info\.format to one of"):
        build("pal_corpus", info_of(*esc))
    with pytest.raises(ConfigError, match="Did you mean 'esc50'"):
        build("pal_corpus", info_of(*esc, format="esc"))
    with pytest.raises(ConfigError, match="the dataset is 'esc50'"):
        build("pal_esc50", info_of(*esc, format="clotho"))


def test_every_dataset_has_a_name(build):
    assert {f"pal_{name}" for name in READERS} <= set(DATASETS.names())
    with pytest.raises(ConfigError, match=r"with the files of clotho \(clotho_captions"):
        build("pal_clotho", {"audio": {"storage": "/tmp"}})


def test_another_wording_and_other_settings(esc, build):
    datasets = build(
        "pal_esc50",
        info_of(*esc),
        questions={"classification": "What do you hear?"},
        candidates=["bell", "drip", "rain", "wind"],
    )
    (item,) = datasets["val"][1]["items"]
    assert item["question"] == "What do you hear?"
    assert item["candidates"][-1] == "wind"
    with pytest.raises(ConfigError, match="candidates must be null .* or a list of texts"):
        build("pal_esc50", info_of(*esc), candidates=["bell", True])
    datasets = build("pal_esc50", info_of(*esc), candidates=["bell", "cafe\u0301", "caf\u00e9"])
    assert datasets["val"][1]["items"][0]["candidates"] == ["bell", "caf\u00e9"]
    with pytest.raises(ConfigError, match="none of 6 clips has an item of the tasks caption"):
        build("pal_esc50", info_of(*esc), tasks={"classification": 0})
    with pytest.raises(ConfigError, match="unknown key 'file'. Did you mean 'files'"):
        build("pal_esc50", {"annotations": {"val": {"file": "x"}}})


def test_missing_audio_is_told_in_training_and_stops_evaluation(esc, build, caplog):
    folder, csv = esc
    (folder / "1.wav").unlink()
    (folder / "7.wav").unlink()
    with pytest.raises(ConfigError, match=r"1 clips or questions of 'val' are unusable: 7: no f"):
        build("pal_esc50", info_of(folder, csv))
    assert len(build("pal_esc50", info_of(folder, csv), splits=["train"])["train"]) == 5
    assert "1 clips or questions of 'train' are unusable: 1: no file; tried 1.wav" in caplog.text
    datasets = build("pal_esc50", info_of(folder, csv, allow_missing=True))
    assert len(datasets["val"]) == 2
    assert "'val' are unusable: 7" in caplog.text


def test_broken_audio_is_skipped_in_training_and_stops_evaluation(esc, build):
    folder, csv = esc
    for number in (0, 6):
        (folder / f"{number}.wav").write_bytes(b"no audio")
    datasets = build("pal_esc50", info_of(folder, csv))
    assert isinstance(datasets["train"][0], SkippedClip)
    assert datasets["train"][1]["sample_id"] == "1"
    with pytest.raises(AudioError, match=r"cannot decode .*6\.wav"):
        datasets["val"][0]


def converted(esc, out, **options):
    folder, csv = esc
    convert("esc50", folder, [csv], out, workers=1, progress=False, **options)
    return out


def test_a_split_may_come_from_shards(esc, build, tmp_path):
    shards = converted(esc, tmp_path / "out", where={"fold": ["1", "2"]}, shard_clips=2)
    datasets = build("pal_esc50", info_of(*esc, shards={"train": str(shards)}))
    assert len(datasets["train"]) == 6
    assert {c["sample_id"] for c in islice(datasets["train"], 6)} == set("012345")
    assert len(datasets["val"]) == 3


def test_shards_by_a_pattern_bring_labels_and_what_was_left_out(esc, build, tmp_path):
    (esc[0] / "2.wav").write_bytes(b"")
    out = converted(esc, tmp_path / "out", shard_clips=3)
    pattern = f"{out}/esc50-{{00000..00002}}.tar"
    with pytest.raises(ConfigError, match="1 clips or questions of 'val' are unusable: 2: "):
        build("pal_shards", {"shards": {"val": pattern}})
    datasets = build("pal_shards", {"shards": {"val": pattern}, "allow_missing": True})
    assert next(iter(datasets["val"]))["items"][0]["candidates"] == list(LABELS)


@pytest.mark.parametrize("pattern", ["{out}", "{out}/esc50-{{00000..00002}}.tar", "{out}/*.tar"])
def test_shards_from_a_folder_a_brace_glob_and_a_star(esc, build, tmp_path, pattern):
    out = converted(esc, tmp_path / "out", shard_clips=3)
    datasets = build("pal_shards", {"shards": {"val": pattern.format(out=out)}})
    assert len(datasets["val"]) == 9
    assert [clip["sample_id"] for clip in datasets["val"]] == list("012345678")


def test_shards_of_a_folder_bring_their_labels_and_the_same_items(esc, build, tmp_path):
    out = converted(esc, tmp_path / "out")
    (streamed,) = [c["items"] for c in build("pal_shards", {"shards": {"val": str(out)}})["val"]][
        :1
    ]
    mapped = build("pal_esc50", info_of(*esc))["train"].clips[0].items
    assert streamed[0]["candidates"] == list(LABELS)
    assert {k: streamed[0][k] for k in mapped[0]} == mapped[0]


def test_a_pipe_needs_its_number_of_clips_in_evaluation(esc, build, tmp_path):
    out = converted(esc, tmp_path / "out", shard_clips=3)
    pipe = f"pipe:cat {out}/esc50-{{00000..00002}}.tar"
    with pytest.raises(ConfigError, match=r"set build_info\.counts\.val"):
        build("pal_shards", {"shards": {"val": pipe}})
    datasets = build("pal_shards", {"shards": {"val": pipe, "train": pipe}, "counts": {"val": 9}})
    assert len(list(datasets["val"])) == len(datasets["val"]) == 9
    with pytest.raises(TypeError, match="unknown"):
        len(datasets["train"])


def test_what_conversion_left_out_stops_evaluation(esc, build, tmp_path, caplog):
    (esc[0] / "2.wav").write_bytes(b"")
    out = str(converted(esc, tmp_path / "out"))
    with pytest.raises(ConfigError, match="1 clips or questions of 'test' are unusable: 2: "):
        build("pal_shards", {"shards": {"test": out}})
    datasets = build("pal_shards", {"shards": {"test": out, "train": out}, "allow_missing": True})
    assert len(datasets["test"]) == 8
    assert "'train' are unusable: 2" in caplog.text


def test_shards_that_are_not_there_are_named(build, tmp_path):
    with pytest.raises(ConfigError, match="has no splits"):
        build("pal_shards", {})
    with pytest.raises(ConfigError, match="no shards at .*gone"):
        build("pal_shards", {"shards": {"val": str(tmp_path / "gone-{000..002}.tar")}})
    (tmp_path / "conversion.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="unfinished"):
        build("pal_shards", {"shards": {"val": str(tmp_path)}})
