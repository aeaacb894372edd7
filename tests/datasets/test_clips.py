"""A user's own clips with a CSV in ESC-50's format, through the registered builder."""

from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf

# isort: split

from pal_plugin.audio.io import AudioError
from pal_plugin.config.registry import CONFIGS
from pal_plugin.datasets.builders import ClipsBuilder
from pal_plugin.datasets.clips import ClipDataset, LabelledClip, held_out, read_annotations
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.utils.errors import ConfigError

LABELS = {"1.wav": "dog", "2.wav": "crackling_fire", "3.wav": "dog", "4.wav": "rain"}
ENCODERS = {"sslam": {"type": "sslam", "features": {"window_s": 1.0}}}


def build(folder, csv, **changes):
    config = OmegaConf.load(CONFIGS / "datasets" / "pal_clips.yaml").datasets.pal_clips
    both = {
        "train": {"storage": str(csv), "where": {"fold": [1]}},
        "val": {"storage": str(csv), "where": {"fold": 2, "esc10": True}},
    }
    base = {
        "build_info": {"audio": {"storage": str(folder)}, "annotations": both},
        "audio_processor": {s: {"encoders": ENCODERS} for s in ("train", "eval")},
    }
    return ClipsBuilder(OmegaConf.merge(config, base, changes)).build_datasets()


def test_splits_are_filters_and_labels_are_the_candidates(make_clips):
    datasets = build(*make_clips(LABELS))
    assert [clip.path.name for clip in datasets["train"].clips] == ["1.wav", "3.wav"]
    assert len(datasets["val"]) == 2
    clip = datasets["val"][0]
    assert clip["items"][0]["answer"] == "crackling fire"
    assert clip["items"][0]["candidates"] == ["crackling fire", "dog", "rain"]
    batch = datasets["val"].collater([datasets["val"][i] for i in range(2)])
    assert batch["text_output"] == ["crackling fire", "rain"]
    assert batch["sample_id"] == ["2.wav", "4.wav"]
    assert batch["audio"]["sslam"]["windows"].tolist() == [1, 1]


def test_labels_may_be_renamed_and_candidates_given(make_clips):
    datasets = build(*make_clips(LABELS), labels={"dog": "a barking dog"})
    assert datasets["train"].clips[0].label == "a barking dog"
    with pytest.raises(
        ConfigError, match="labels that are not in candidates: crackling fire, rain"
    ):
        build(*make_clips(LABELS), candidates=["dog"])


@pytest.mark.parametrize("candidates", [[], "dog", [0, 1], ["dog", True], ["dog", " "]])
def test_candidates_are_texts(make_clips, candidates):
    with pytest.raises(ConfigError, match="a list of texts"):
        build(*make_clips(LABELS), candidates=candidates)


def test_training_varies_the_wording_by_pass_and_evaluation_does_not(make_clips):
    questions = [f"Question {i}?" for i in range(4)]
    datasets = build(*make_clips(LABELS), questions=questions)
    size = len(datasets["train"])
    asked = {datasets["train"][n * size]["items"][0]["question"] for n in range(12)}
    assert len(asked) > 1
    again = [datasets["train"][n * size]["items"][0]["question"] for n in (3, 3)]
    assert again[0] == again[1]
    assert datasets["val"][0]["items"][0]["question"] == "Question 0?"


def test_other_columns_are_named(make_clips):
    folder, csv = make_clips(LABELS, columns=("file", "digit"))
    with pytest.raises(
        ConfigError, match=r"no column 'filename' in its header\. Did you mean 'file'"
    ):
        build(folder, csv)
    columns = {"columns": {"filename": "file", "label": "digit"}}
    assert len(build(folder, csv, build_info=columns)["val"]) == 2


def test_missing_files_are_listed_and_never_replaced(make_clips, caplog):
    folder, csv = make_clips(LABELS)
    (folder / "1.wav").unlink()
    datasets = build(folder, csv)
    assert [clip.path.name for clip in datasets["train"].clips] == ["3.wav"]
    assert "1 of 2 clips of 'train' are missing" in caplog.text
    assert "1.wav" in caplog.text
    (folder / "2.wav").unlink()
    with pytest.raises(ConfigError, match=r"'val' are missing: .*2\.wav"):
        build(folder, csv)


def test_broken_audio_is_skipped_in_training_and_an_error_in_evaluation(make_clips):
    folder, csv = make_clips(LABELS)
    (folder / "1.wav").write_bytes(b"nothing")
    (folder / "2.wav").write_bytes(b"nothing")
    datasets = build(folder, csv)
    skipped = datasets["train"][0]
    assert isinstance(skipped, SkippedClip)
    assert skipped.name.endswith("1.wav")
    with pytest.raises(AudioError, match=r"2\.wav"):
        datasets["val"][0]


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ({}, "has no splits"),
        ({"val": {"storage": "gone.csv"}}, r"gone\.csv"),
        ({"val": {"where": {}}}, "expected storage"),
        ({"val": {"storage": "CSV", "were": {}}}, "expected storage"),
        ({"val": {"storage": "CSV", "where": {"fold": 9}}}, "none of 4 rows"),
        ({"val": {"storage": "CSV", "where": {"flod": 1}}}, "Did you mean 'fold'"),
    ],
)
def test_annotations_that_cannot_be_used_say_why(make_clips, annotations, says):
    folder, csv = make_clips(LABELS)
    config = OmegaConf.load(CONFIGS / "datasets" / "pal_clips.yaml").datasets.pal_clips
    config.build_info.audio.storage = str(folder)
    for source in annotations.values():
        if source.get("storage") == "CSV":
            source["storage"] = str(csv)
    config.build_info.annotations = annotations
    with pytest.raises(ConfigError, match=says):
        ClipsBuilder(config).build_datasets()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('9.wav,1,True,"rain\n', "unexpected end of data"),
        ("9.wav\n", "expected 4 fields"),
        ("9.wav,1,True,rain,more\n", "expected 4 fields"),
        ("9.wav,1,True,\n", "without a file name or label"),
    ],
)
def test_a_row_that_is_not_whole_is_told(tmp_path, line, says):
    csv = tmp_path / "clips.csv"
    csv.write_text("filename,fold,esc10,category\n1.wav,1,True,dog\n" + line)
    with pytest.raises(ConfigError, match=rf"clips\.csv.*{says}"):
        read_annotations(csv, tmp_path)


def test_clips_of_one_name_in_two_folders_have_ids_of_their_own(tmp_path):
    paths = [tmp_path / name for name in ("one/a.wav", "two/a.wav", "two/b.wav")]
    clips = [LabelledClip(path, "x") for path in [*paths, paths[2]]]
    dataset = ClipDataset(clips, str, str, ["What?"], ["x"])
    ids = [dataset[i]["sample_id"] for i in range(4)]
    assert ids == ["one/a.wav", "two/a.wav", "b.wav", "b.wav"]


def test_a_label_has_one_form_and_is_renamed_in_any(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "filename,category\na.wav,cafe\u0301_noise\nb.wav,caf\u00e9_noise\u200b\n", "utf-8"
    )
    labels = [clip.label for clip in read_annotations(table, tmp_path)]
    assert labels == ["caf\u00e9 noise"] * 2
    renamed = read_annotations(table, tmp_path, labels={"cafe\u0301_noise": "inn"})
    assert [clip.label for clip in renamed] == ["inn"] * 2
    table.write_bytes(b"filename,category\na.wav,dog\nb.wav,caf\xe9\n")
    with pytest.raises(ConfigError, match=r"t\.csv, line 3: expected text as category, got bytes"):
        read_annotations(table, tmp_path)


def many(count, *labels):
    return [LabelledClip(Path(f"{label}-{n}.wav"), label) for label in labels for n in range(count)]


def test_a_part_of_each_label_is_held_out_by_name():
    clips = many(10, "dog", "rain") + many(2, "bell")
    kept, held = held_out(clips, 0.25)
    assert sorted([*kept, *held], key=clips.index) == clips
    assert Counter(clip.label for clip in held) == {"dog": 3, "rain": 3, "bell": 1}
    assert held_out(clips[::-1], 0.25)[1] == held[::-1]
    # A folder that grows keeps what was held out, or holds out more.
    assert {*held} - {*held_out(clips + many(3, "car"), 0.25)[1]} == set()


@pytest.mark.parametrize("part", [0, 1, -0.1, "0.2", True])
def test_a_part_is_a_share(part):
    with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
        held_out(many(4, "dog"), part)


def test_a_label_with_one_clip_cannot_be_held_out():
    with pytest.raises(ConfigError, match="only one clip of bell.*by a column.*data.val"):
        held_out(many(4, "dog") + many(1, "bell"), 0.2)
