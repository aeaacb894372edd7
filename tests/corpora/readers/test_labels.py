"""Datasets of labels on synthetic files."""

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.utils.errors import ConfigError

from ..conftest import found


def test_synthetic_fsd50k_has_several_labels_and_its_vocabulary(read):
    corpus = read(
        "fsd50k",
        {
            "dev.csv": 'fname,labels,mids,split\n64,"Bark,Domestic_animals","/m/1,/m/2",train\n'
            "65,Rain,/m/3,val\n",
            "vocabulary.csv": "0,Bark,/m/1\n1,Domestic_animals,/m/2\n2,Rain,/m/3\n3,Wind,/m/4\n",
            "dev_clips_info_FSD50K.json": {"64": {"license": "CC BY"}},
        },
        where={"split": ["train"]},
    )
    (record,) = corpus.records
    assert record.audio == "64.wav"
    assert record.items[0]["labels"] == ["Bark", "Domestic animals"]
    assert record.facts["licence"] == "CC BY"
    assert corpus.labels == ["Bark", "Domestic animals", "Rain", "Wind"]


def test_synthetic_vocalsound_is_in_its_file_names(read):
    names = ["f0003_0_throatclearing.wav", "m0010_1_sniff.wav", "readme_x.wav"]
    corpus = read("vocalsound", {}, names)
    assert [r.items[0]["answer"] for r in corpus.records] == ["throat clearing", "sniff"]
    assert len(corpus.labels) == 6
    assert corpus.problems == ["readme_x.wav: expected a name like SPEAKER_COLLECTION_CLASS.wav"]
    listed = {"data": [{"wav": "/home/g/audio_16k/m0010_1_sniff.wav", "labels": "/m/1"}]}
    (record,) = read("vocalsound", {"te.json": listed}, names).records
    assert record.facts == {"speaker": "m0010", "sex": "m"}


def test_synthetic_vggsound_pads_the_start(read, tmp_path):
    text = '-a1,5,"bee, wasp, etc. buzzing",test\nb2,30,rain,train\n'
    corpus = read("vggsound", {"v.csv": text}, ["-a1_000005.flac"], {"split": ["test"]})
    assert corpus.records[0].items[0]["answer"] == "bee, wasp, etc. buzzing"
    assert found(corpus, tmp_path) == ["-a1_000005.flac"]


def test_synthetic_audioset_segments(read, tmp_path):
    segments = (
        "# Segments csv created\n# num_ytids=2\n# YTID, start_seconds, ...\n"
        '-x, 30.000, 40.000, "/m/1,/m/2"\nyy, 0.000, 10.000, "/m/9"\n'
    )
    table = 'index,mid,display_name\n0,/m/1,"Speech"\n1,/m/2,"Bark, dog"\n'
    corpus = read("audioset", {"e.csv": segments, "l.csv": table}, ["Y-x.wav"])
    (record,) = corpus.records
    assert record.items[0]["labels"] == ["Speech", "Bark, dog"]
    assert corpus.problems == ["e.csv, line 5: yy: /m/9 is not in the label table"]
    assert found(corpus, tmp_path) == ["Y-x.wav"]
    with pytest.raises(ConfigError, match="class_labels_indices"):
        read("audioset", {"e.csv": segments})


def test_synthetic_dcase17_without_header(read, tmp_path):
    text = (
        "-5Q_60.000_70.000.wav\t60.0\t70.0\tTrain horn\n"
        "-5Q_60.000_70.000.wav\t60.0\t70.0\tAir horn, truck horn\n"
    )
    corpus = read("dcase17", {"d.csv": text}, ["Y-5Q_60.000_70.000.wav"])
    (record,) = corpus.records
    assert record.items[0]["labels"] == ["Train horn", "Air horn, truck horn"]
    assert record.facts["events"][0] == [60.0, 70.0, "Train horn"]
    assert found(corpus, tmp_path) == ["Y-5Q_60.000_70.000.wav"]


def test_labels_of_a_table_have_one_form_and_are_whole(read, tmp_path):
    dev = "fname,labels,mids,split\n64,cafe\u0301_noise,/m/1,train\n"
    files = {
        "dev.csv": dev,
        "V.CSV": "0,caf\u00e9_noise,/m/1\n",
        "I.JSON": {"64": {"license": "CC0"}},
    }
    corpus = read("fsd50k", files)
    assert corpus.labels == [corpus.records[0].items[0]["answer"]] == ["caf\u00e9 noise"]
    assert corpus.records[0].facts["licence"] == "CC0"
    (tmp_path / "bad.csv").write_bytes(b"0,Bark,/m/1\n1,caf\xe9,/m/2\n")
    with pytest.raises(ConfigError, match=r"bad\.csv, line 2: expected text as label, got bytes"):
        read_corpus("fsd50k", [tmp_path / "dev.csv", tmp_path / "bad.csv"], AudioFolder(tmp_path))
