"""What an evaluation is repeated by: settings with the files they name, rows, versions."""

import pytest

from pal_plugin.evaluation.provenance import describe, rows_hash, settings


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def data(tmp_path):
    names = ("clips.csv", "indexed/index.json", "indexed/a-0.tar", "llm/config.json")
    for name in (*names, "llm/model.safetensors", "e.pt", "judge.txt", "model.safetensors"):
        write(tmp_path / name, name)
    return tmp_path


@pytest.mark.parametrize(
    "changed", ["clips.csv", "indexed/index.json", "llm/model.safetensors", "e.pt", "judge.txt"]
)
def test_a_resumed_evaluation_needs_the_same_files(data, changed):
    config = {
        "model": {"encoders": {"x": {"checkpoint": str(data / "e.pt")}},
                  "llm": {"path": str(data / "llm")}},
        "datasets": {"d": {"build_info": {"annotations": {"val": str(data / "clips.csv")},
                                          "shards": {"test": str(data / "indexed")}}}},
        "run": {"evaluation": {"chat": {"template": str(data / "judge.txt")}}},
    }  # fmt: skip
    before = settings(config, data / "model.safetensors")
    assert settings(config, data / "model.safetensors") == before
    write(data / changed, "another file of this name")
    assert settings(config, data / "model.safetensors") != before


ROWS = [
    {"id": "a#0", "sample_id": "a", "task": "qa", "question": "What?", "answers": ["dog"]},
    {"id": "b#0", "sample_id": "b", "task": "qa", "question": "What?", "answers": ["cat"]},
    {"id": "b#1", "sample_id": "b", "task": "caption", "question": "Tell.", "answers": ["a cat"]},
]
CONFIG = {"model": {"arch": "pal"}, "datasets": {}, "run": {"seed": 3, "masked_audio": True}}


def test_rows_are_known_by_what_was_asked_in_any_order():
    answered = [{**row, "prediction": "bird"} for row in ROWS]
    assert rows_hash(answered) == rows_hash(ROWS[::-1])
    assert rows_hash([{**ROWS[0], "answers": ["dogs"]}, *ROWS[1:]]) != rows_hash(ROWS)


def test_a_split_is_described_by_counts_questions_and_versions():
    told = describe(
        CONFIG, None, ROWS, checkpoint=None, left_out=["c (gone)"], clips=3, device="cpu"
    )
    assert told["clips"] == {"in the datasets": 3, "answered": 2, "left out": 1}
    assert told["left out"] == ["c (gone)"]
    assert told["questions"]["qa"] == {"wordings": 1, "most frequent": {"What?": 2}}
    assert (told["rows"], told["seed"], told["prompt"]) == (3, 3, None)
    assert {"pal_plugin", "python", "torch"} <= told["versions"].keys()


def test_what_answers_do_not_depend_on_is_no_setting():
    assert settings(CONFIG, None) == settings({**CONFIG, "run": {**CONFIG["run"], "log": 1}}, None)
    other = {**CONFIG, "run": {**CONFIG["run"], "seed": 4}}
    assert settings(other, None) != settings(CONFIG, None)
    with pytest.raises(KeyError, match="datasets"):
        settings({"model": {}, "run": {}}, None)
