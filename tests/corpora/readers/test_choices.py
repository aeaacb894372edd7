"""MMAU, MuChoMusic and AIR-Bench on synthetic files."""

from ..conftest import found


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
    assert "m.json, entry 3, id 3: answer 'Cat' is not among the choices" in corpus.problems[0]


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


def test_a_choice_that_is_no_text_is_listed(read):
    row = {"id": "1", "audio_id": "a.wav", "question": "Who?", "choices": ["x", "y"], "answer": "x"}
    bad = [["x", None], "['x', None]", '["x", null]', ["x", float("nan")], ["x", " "]]
    rows = [row, *({**row, "id": str(n), "choices": choices} for n, choices in enumerate(bad, 2))]
    corpus = read("mmau", {"M.JSON": rows})
    assert [item["id"] for item in corpus.records[0].items] == ["1"]
    assert len(corpus.problems) == len(bad)
    assert all("expected text as choice 2, got" in problem for problem in corpus.problems)


def test_a_choice_that_airbench_leaves_empty_keeps_no_place_and_another_is_listed(read):
    row = {
        "uniq_id": 1,
        "path": "a.wav",
        "task_name": "t",
        "dataset_name": "d",
        "question": "q",
        "answer_gt": "2",
        "choice_a": 1,
        "choice_b": 2,
        "choice_c": None,
        "choice_d": "",
    }
    corpus = read("airbench", {"f.json": [row, {**row, "uniq_id": 2, "choice_c": float("nan")}]})
    assert corpus.records[0].items[0]["candidates"] == ["1", "2"]
    (problem,) = corpus.problems
    assert "f.json, entry 2, id 2: expected text as choice 3, got nan" in problem
