"""One bad entry is listed with its file and place, and the others are read (synthetic files)."""

import pytest

AUDIOCAPS = "audiocap_id,youtube_id,start_time,caption\n"
CLOTHO = "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)) + "\n"
CHOICE = {"id": "1", "audio_id": "a.wav", "question": "Who?", "choices": ["x", "y"], "answer": "x"}
OPEN = {"instruction": "q", "audio_id": "a.wav", "dataset": "d", "task": "t", "output": "o"}
AIR = {
    "uniq_id": 1,
    "path": "a.wav",
    "task_name": "t",
    "dataset_name": "d",
    "question": "q",
    "answer_gt": "x",
    "choice_a": "x",
    "choice_b": "y",
}
PAIR = {"instruction": "q", "output": "a"}


#: Dataset, file, content with one bad entry, and what is said of it.
CASES = {
    "audiocaps caption": (
        "audiocaps",
        "t.csv",
        AUDIOCAPS + "1,ab,30,A dog\n2,cd,30, \n",
        "t.csv, line 3: expected text as caption",
    ),
    "audiocaps start": (
        "audiocaps",
        "t.csv",
        AUDIOCAPS + "1,ab,x,A dog\n2,cd,30,Rain\n",
        "t.csv, line 2: expected seconds as start_time, got 'x'",
    ),
    "clotho": (
        "clotho",
        "c.csv",
        CLOTHO + "a.wav,1,2,,4,5\n",
        "c.csv, line 2: expected text as caption_3, got ''",
    ),
    "esc50": (
        "esc50",
        "e.csv",
        "filename,fold,category\na.wav,1,\nb.wav,1,dog\n",
        "e.csv, line 2: expected text as answer",
    ),
    "fsd50k": (
        "fsd50k",
        "dev.csv",
        'fname,labels,mids,split\n64,"Bark,",/m/1,train\n65,Rain,/m/3,val\n',
        "dev.csv, line 2: expected text as label, got ''",
    ),
    "vggsound": (
        "vggsound",
        "v.csv",
        "ab,nan,bee,test\ncd,3,bee,test\n",
        "v.csv, line 1: expected seconds as start, got 'nan'",
    ),
    "dcase17": (
        "dcase17",
        "d.tsv",
        "a.wav\t0\t1\tbell\nb.wav\t0\tx\tbell\n",
        "d.tsv, line 2: expected seconds as offset, got 'x'",
    ),
    "mmau key": (
        "mmau",
        "m.json",
        [CHOICE, {k: v for k, v in CHOICE.items() if k != "choices"}],
        "m.json, entry 2, id 1: no 'choices'",
    ),
    "mmau question": (
        "mmau",
        "m.json",
        [CHOICE, {**CHOICE, "question": None}],
        "m.json, entry 2, id 1: expected text as question, got None (NoneType)",
    ),
    "openaqa": (
        "openaqa",
        "o.json",
        [OPEN, {**OPEN, "output": ""}],
        "o.json, entry 2: expected text as answer, got ''",
    ),
    "openaqa file": (
        "openaqa",
        "o.json",
        [OPEN, {**OPEN, "audio_id": None}],
        "o.json, entry 2: expected a file name as audio_id, got None",
    ),
    "compar pair": (
        "compar_test",
        "c.json",
        [{"audio_id": "a", "caption": "c", "instruction_output": [PAIR, {"instruction": "q"}]}],
        "c.json, entry 1, pair 2: expected instruction and output, got {'instruction': 'q'}",
    ),
    "compar pairs": (
        "compar_test",
        "c.json",
        [
            {"audio_id": "a", "caption": "c", "instruction_output": [PAIR]},
            {"audio_id": "b", "caption": "c", "instruction_output": None},
        ],
        "c.json, entry 2: expected a list as instruction_output",
    ),
    "airbench": (
        "airbench",
        "f.json",
        [AIR, {k: v for k, v in AIR.items() if k != "task_name"}],
        "f.json, entry 2, id 1: no 'task_name'",
    ),
    "muchomusic": (
        "muchomusic",
        "m.csv",
        "dataset,dataset_identifier,question,correct_answer,distractor_1_answer,"
        "distractor_2_answer,distractor_3_answer\nsdd,1.json,,a,b,c,d\nsdd,1.json,q,a,b,c,d\n",
        "m.csv, line 2: expected text as question",
    ),
}


@pytest.mark.parametrize(("dataset", "file", "content", "told"), CASES.values(), ids=CASES.keys())
def test_one_bad_entry_is_listed_and_the_rest_is_read(read, dataset, file, content, told):
    corpus = read(dataset, {file: content})
    assert len(corpus.records) == 1
    (problem,) = corpus.problems
    assert problem.startswith(told)


def test_whole_seconds_may_be_written_with_a_point(read):
    text = AUDIOCAPS + "1,ab,20.0,A dog\n2,ab,20,A bark\n3,cd,7.5,Rain\n"
    first, second = read("audiocaps", {"t.csv": text}).records
    assert (first.id, first.facts["start_time"]) == ("ab_20", 20)
    assert first.items[0]["answers"] == ["A dog", "A bark"]
    assert (second.id, second.audio) == ("cd_7.5", "cd_7.500_17.500")
