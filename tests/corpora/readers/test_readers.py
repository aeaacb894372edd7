"""Readers on files made from the field lists of the datasets; all of them synthetic."""

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.prompts import multiple_choice_prompt
from pal_plugin.corpora.readers import READERS, read_corpus
from pal_plugin.utils.errors import ConfigError

from ..conftest import found


def test_synthetic_openaqa_groups_the_questions_of_a_clip(read, tmp_path):
    row = {
        "instruction": "What rings?",
        "input": "",
        "audio_id": "/sls/as/x1.flac",
        "dataset": "as_20k",
        "task": "open-ended question",
        "output": "A bell.",
    }
    corpus = read(
        "openaqa",
        {
            "a.json": [
                row,
                {**row, "instruction": "Describe it.", "task": "caption"},
                {**row, "audio_id": "/sls/as/x2.flac", "input": "Answer in one word."},
            ]
        },
        audio=["x1.wav"],
    )
    first, second = corpus.records
    assert [i["task"] for i in first.items] == ["qa", "caption"]
    assert first.items[0]["question_type"] == "open-ended question"
    assert second.items[0]["question"] == "What rings?\nAnswer in one word."
    assert found(corpus, tmp_path) == ["x1.wav", None]


def test_synthetic_gama_has_no_input(read):
    row = {
        "audio_id": "a.wav",
        "instruction": "Why?",
        "dataset": "compa-r",
        "task": "reasoning",
        "output": "Because.",
    }
    (record,) = read("gama", {"g.json": [row]}).records
    assert record.items[0]["answer"] == "Because."
    with pytest.raises(ConfigError, match=r"g\.json: no entry has 'output'"):
        read("gama", {"g.json": [{k: v for k, v in row.items() if k != "output"}]})


def test_synthetic_compar_test_keeps_what_a_judge_reads(read):
    row = {
        "audio_id": "a.wav",
        "input": "",
        "dataset": "d",
        "task": "t",
        "caption": "a dog",
        "timestamp_events": "(dog 0-1)",
        "instruction_output": [
            {"instruction": "Q1", "output": "A1"},
            {"instruction": "Q2", "output": "A2"},
        ],
    }
    (record,) = read("compar_test", {"c.json": [row]}).records
    assert [(i["task"], i["question"], i["answer"]) for i in record.items] == [
        ("reasoning", "Q1", "A1"),
        ("reasoning", "Q2", "A2"),
    ]
    assert record.items[1]["facts"] == {"caption": "a dog", "timestamp_events": "(dog 0-1)"}


def test_synthetic_audiocaps_joins_the_captions_of_a_clip(read, tmp_path):
    text = (
        'audiocap_id,youtube_id,start_time,caption\n1,-ab,30,"A dog, barking"\n'
        "2,-ab,30,A bark\n3,cd,0,Rain\n4,ef,5,Wind\n"
    )
    corpus = read("audiocaps", {"test.csv": text}, ["Y-ab_30.flac", "cd.wav", "4.ogg"])
    assert corpus.records[0].items[0]["answers"] == ["A dog, barking", "A bark"]
    assert corpus.records[0].facts["audiocap_ids"] == ["1", "2"]
    assert found(corpus, tmp_path) == ["Y-ab_30.flac", "cd.wav", "4.ogg"]


def test_synthetic_clotho_takes_licences_from_the_metadata(read, tmp_path):
    captions = (
        "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)) + "\na b.wav,1,2,3,4,5\n"
    )
    metadata = (
        "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
        "a b.wav,rain;d\xe4mmer,1,http://x,[0],m,CC0\n"
    )
    (tmp_path / "m.csv").write_bytes(metadata.encode("latin-1"))
    folder = tmp_path / "audio"
    folder.mkdir()
    (tmp_path / "c.csv").write_text(captions)
    corpus = read_corpus("clotho", [tmp_path / "c.csv", tmp_path / "m.csv"], AudioFolder(folder))
    (record,) = corpus.records
    assert record.items[0]["answers"] == ["1", "2", "3", "4", "5"]
    assert record.facts["licence"] == "CC0"
    assert record.facts["keywords"] == "rain;dämmer"
    with pytest.raises(ConfigError, match="needs a file with captions"):
        read_corpus("clotho", [tmp_path / "m.csv"], AudioFolder(folder))


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
    assert corpus.problems == ["readme_x.wav: not named SPEAKER_COLLECTION_CLASS.wav"]
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
    assert corpus.problems == ["e.csv, line 5: yy: /m/9 is not in the table of labels"]
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


def test_synthetic_mmau_choices_may_be_text_and_a_wrong_answer_is_listed(read):
    row = {
        "id": "1",
        "audio_id": "./t/1.wav",
        "question": "Who?",
        "choices": ["Man", "Dog"],
        "answer": "Dog",
        "task": "sound",
        "split": "mini",
        "difficulty": "easy",
    }
    corpus = read(
        "mmau",
        {
            "m.json": [
                row,
                {**row, "id": "2", "choices": "['Man', 'Dog']"},
                {**row, "id": "3", "answer": "Cat"},
            ]
        },
    )
    (record,) = corpus.records
    assert [item["id"] for item in record.items] == ["1", "2"]
    assert record.items[0]["candidates"] == record.items[1]["candidates"] == ["Man", "Dog"]
    assert record.items[0]["question"] == (
        "Who?  Select one option from the provided choices.\n['Man', 'Dog']."
    )
    assert "m.json, entry 3, id 3: the answer 'Cat' is not among the choices" in corpus.problems[0]


def test_synthetic_muchomusic_options_are_shuffled_the_same_every_time(read, tmp_path):
    header = (
        "dataset,dataset_identifier,question,correct_answer,distractor_1_answer,"
        "distractor_2_answer,distractor_3_answer,genre,music_reasoning,music_knowledge\n"
    )
    rows = (
        "sdd,1234.json,Which?,Jazz,Rock,Pop,Folk,jazz,[],\"['melody']\"\n"
        "musiccaps,-Ab_c_[30-40].json,Fast?,Yes,No,Maybe,,pop,,\n"
    )
    files = {"m.csv": header + rows}
    corpus = read("muchomusic", files, ["34/1234.2min.mp3", "-Ab_c.wav"])
    again = read("muchomusic", files)
    items = [record.items[0] for record in corpus.records]
    assert items == [record.items[0] for record in again.records]
    assert sorted(items[0]["candidates"]) == ["Folk", "Jazz", "Pop", "Rock"]
    assert items[0]["question"].startswith("Question: Which? Options: (A) ")
    assert items[0]["question"].endswith(" The correct answer is:")
    assert items[0]["facts"]["knowledge"] == ["melody"]
    assert len(items[1]["candidates"]) == 3
    assert found(corpus, tmp_path) == ["34/1234.2min.mp3", "-Ab_c.wav"]


def test_synthetic_muchomusic_finds_clips_by_their_times(read, tmp_path):
    header = (
        "dataset,dataset_identifier,question,correct_answer,distractor_1_answer,"
        "distractor_2_answer,distractor_3_answer\n"
    )
    rows = "".join(
        f"musiccaps,{name}.json,q,a,b,c,d\n" for name in ("-Ab_c_x", "two_50", "twice_x")
    )
    names = ["mc/[-Ab_c]-[30-40].wav", "[two]-[30-40].wav", "[two]-[50-60].wav"]
    names += ["[twice]-[30-40].wav", "[twice]-[50-60].wav"]
    corpus = read("muchomusic", {"m.csv": header + rows}, names)
    assert found(corpus, tmp_path) == ["mc/[-Ab_c]-[30-40].wav", "[two]-[50-60].wav", None]


def test_synthetic_airbench_foundation_and_chat(read, tmp_path):
    base = {
        "uniq_id": 7,
        "path": "a.wav",
        "task_name": "Sound_AQA",
        "dataset_name": "avqa",
        "question": "What?",
        "answer_gt": "bell",
    }
    corpus = read(
        "airbench",
        {
            "f.json": [
                {**base, "choice_a": "dog", "choice_b": "bell", "choice_c": None},
                {**base, "path": "b.wav", "choice_a": "x", "choice_b": "y", "answer_gt": "B"},
            ],
            "c.json": [{**base, "path": "c.wav", "meta_info": "a bell rings"}],
        },
        ["Sound_AQA_avqa/a.flac", "c.wav"],
    )
    first, second, chat = (record.items[0] for record in corpus.records)
    assert first["candidates"] == ["dog", "bell"]
    assert first["question"].endswith("\nWhat?\nA. dog\nB. bell")
    assert second["answer"] == "y"
    assert (chat["task"], chat["facts"]["meta_info"]) == ("chat", "a bell rings")
    assert found(corpus, tmp_path) == ["Sound_AQA_avqa/a.flac", None, "c.wav"]


def test_synthetic_librispeech_transcripts_lie_beside_the_audio(read, tmp_path):
    folder = tmp_path / "audio" / "61" / "70"
    folder.mkdir(parents=True)
    (folder / "61-70.trans.txt").write_text("61-70-0000 HE SAID\n61-70-0001 NO\n")
    (folder / "61-70-0000.flac").write_bytes(b"x")
    corpus = read("librispeech", {})
    assert [(r.id, r.items[0]["answer"]) for r in corpus.records] == [
        ("61-70-0000", "HE SAID"),
        ("61-70-0001", "NO"),
    ]
    assert found(corpus, tmp_path) == ["61/70/61-70-0000.flac", None]


def test_synthetic_digits(read):
    corpus = read("fsdd", {}, ["7_jackson_3.wav", "notes.wav"])
    (record,) = corpus.records
    assert record.items[0]["answers"] == ["seven", "7"]
    assert record.facts == {"speaker": "jackson", "take": "3"}
    assert corpus.problems == ["notes.wav: not named DIGIT_SPEAKER_TAKE"]


def test_a_broken_row_is_named_with_its_line(read):
    with pytest.raises(ConfigError, match=r"e\.csv, line 3: expected 3 fields"):
        read("esc50", {"e.csv": "filename,fold,category\na.wav,1,dog\nb.wav,1\n"})
    with pytest.raises(ConfigError, match="no column 'category'"):
        read("esc50", {"e.csv": "filename,fold,categories\na.wav,1,dog\n"})
    with pytest.raises(ConfigError, match="is not JSON"):
        read("mmau", {"m.json": "[{"})


def test_two_files_of_one_name_keep_apart(read):
    text = "filename,fold,category\na.wav,1,dog\na.ogg,2,cat\n"
    corpus = read("esc50", {"e.csv": text})
    assert [record.id for record in corpus.records] == ["a.wav", "a.ogg"]
    with pytest.raises(ConfigError, match="two clips are called 'a.wav'"):
        read("esc50", {"e.csv": text + "a.wav,1,dog\n"})


def test_where_selects_and_explains(read):
    files = {"e.csv": "filename,fold,category\na.wav,1,dog\nb.wav,2,cat\n"}
    (record,) = read("esc50", files, where={"fold": ["2", "3"]}).records
    assert record.audio == "b.wav"
    with pytest.raises(ConfigError, match="Did you mean 'fold'"):
        read("esc50", files, where={"folds": ["2"]})
    with pytest.raises(ConfigError, match="values there: fold: 1, 2"):
        read("esc50", files, where={"fold": ["7"]})


def test_unknown_datasets_and_missing_files_are_named(read, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'clotho'"):
        read("cloth", {})
    with pytest.raises(ConfigError, match="mmau needs annotations: mmau-test-mini.json"):
        read("mmau", {})
    with pytest.raises(ConfigError, match="no annotations at .*gone.csv"):
        read_corpus("esc50", [tmp_path / "gone.csv"], AudioFolder(tmp_path))


def test_every_reader_says_what_it_takes():
    assert len(READERS) == 18
    assert all(entry.about and entry.annotations for entry in READERS.values())


def test_a_protocol_needs_choices():
    with pytest.raises(ConfigError, match="expected 2 to 26 choices, got 1"):
        multiple_choice_prompt("mmau", "Who?", ["Man"])
    with pytest.raises(ConfigError, match="Did you mean 'mmau'"):
        multiple_choice_prompt("mmaau", "Who?", ["Man", "Dog"])
