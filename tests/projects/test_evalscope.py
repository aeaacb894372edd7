"""Questions for evalscope and `pal evaluate`: the same, and answers that differ are noticed."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from pal_plugin.clips import clips
from pal_plugin.config.run_config import load_config
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.utils.messages import question_and_answer

FOLDER = Path(__file__).parents[2] / "projects" / "pal" / "evalscope"
LABELS = ("dog", "sea_waves", "rain", "crying_baby", "rooster")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evalscope_clips", FOLDER / "clips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def audio(tmp_path, script):
    """Ten files as those of ESC-10, two of each class, and one of another fold."""
    rows = [("1-0.ogg", 1, "dog")]
    rows += [(f"4-{n}-{label}.ogg", 4, label) for label in LABELS for n in range(2)]
    for name, _, _ in rows:
        shutil.copy(clips()[0].path, tmp_path / name)
    lines = ["filename,fold,category", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / script.CSV).write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def call(script, audio, monkeypatch):
    def call(*argv):
        line = ["clips.py", *map(str, argv), "--audio", str(audio)]
        monkeypatch.setattr(sys, "argv", line)
        return script.main()

    return call


@pytest.mark.parametrize("argv", [[], ["--without-audio"]])
def test_questions_for_evalscope(script, call, audio, tmp_path, argv):
    assert call("make", tmp_path / "data", *argv) == 0
    for name, most in (("one", 1), ("two", 2)):
        rows = script.read(tmp_path / "data" / f"{name}.jsonl")
        assert len(rows) == 10
        for row in rows:
            heard = [Path(value) for key, value in row.items() if key.startswith("audio_")]
            assert len(heard) == row["question"].count("<audio ") == (0 if argv else most)
            assert len(set(row["options"])) == 4
            if heard:
                asked = heard["second clip?" in row["question"]]
                right = row["options"]["ABCD".index(row["answer"])]
                assert asked.is_file()
                assert asked.stem.endswith(right.replace(" ", "_"))
                assert all(clip.name.startswith("4-") for clip in heard)
        assert (tmp_path / "data" / f"{name}.pal.jsonl").exists() == (not argv)


def test_the_same_questions_for_pal(script, call, audio, tmp_path):
    call("make", tmp_path / "data")
    asked = script.questions(audio)
    for name, form in (("one", "own"), ("two", "messages")):
        corpus = read_corpus(form, [tmp_path / "data" / f"{name}.pal.jsonl"], AudioFolder(audio))
        assert not corpus.problems
        for record, row in zip(corpus.records, asked[name], strict=True):
            (item,) = record.items
            letters = "\n".join(f"{'ABCD'[n]}) {label}" for n, label in enumerate(row["options"]))
            if name == "one":
                assert record.audio == row["clips"][0].name
                assert item["question"] == f"What do you hear?\n{letters}"
                assert item["candidates"] == row["options"]
            else:
                assert set(record.audio) == {clip.name for clip in row["clips"]}
                texts = [p["text"] for p in item["messages"][0]["content"] if p["type"] == "text"]
                assert texts[-1].endswith(f" clip?\n{letters}")
            assert item["answer"] == row["options"]["ABCD".index(row["answer"])]


def test_the_run_file_evaluates_the_shipped_model_on_them(tmp_path):
    given = {"data.questions": tmp_path, "data.audio": tmp_path}
    options = [f"{key}={value}" for key, value in given.items()]
    cfg = load_config([FOLDER / "clips.yaml"], options, evaluating=True)
    assert cfg.run_cfg.max_new_tokens == 48
    assert set(cfg.datasets_cfg) == {"pal_own", "pal_messages"}


@pytest.fixture
def answered(script, audio, tmp_path):
    """Answers of both kits, as they write them."""

    def write(with_audio=True):
        ours = []
        for name, rows in script.questions(audio).items():
            theirs = []
            for number, row in enumerate(rows):
                parts = [
                    {"type": "audio", "audio": str(part), "format": "mp3"}
                    if isinstance(part, Path)
                    else {"type": "text", "text": part}
                    for part in script.sent(row, with_audio)
                ]
                said = f"{name} {number}"
                asked = {"role": "user", "content": parts}
                output = {"choices": [{"message": {"content": said}}]}
                messages = [asked, {"role": "assistant", "content": said}]
                theirs.append({"index": number, "messages": messages, "model_output": output})
                pal = script.for_pal(row)
                text = (
                    question_and_answer(pal["messages"])[0]
                    if name == "two"
                    else pal["items"][0]["question"]
                )
                found = {"prediction": said, "prediction_masked": said, "question": text}
                ours.append({"sample_id": f"{name}-{number}", **found})
            folder = tmp_path / "served" / "predictions" / "small"
            folder.mkdir(parents=True, exist_ok=True)
            script.write(folder / f"general_vmcq_{name}.jsonl", theirs[::-1])
        (tmp_path / "run" / "result").mkdir(parents=True, exist_ok=True)
        script.write(tmp_path / "run" / "result" / "test.jsonl", ours)
        return tmp_path / "served", tmp_path / "run"

    return write


def changed(file, number, **values):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[number] |= values
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("argv", [[], ["--without-audio"]])
def test_equal_answers(call, answered, capsys, argv):
    assert call("compare", *answered(not argv), *argv) == 0
    assert capsys.readouterr().out.count("10 of 10 served answers") == 2


def test_another_answer_is_named(call, answered, capsys):
    served, run = answered()
    changed(run / "result" / "test.jsonl", 3, prediction="a dog")
    assert call("compare", served, run) == 1
    said = capsys.readouterr().out
    assert "one-3: served 'one 3', evaluated 'a dog'" in said
    assert "one: 9 of 10" in said
    assert "two: 10 of 10" in said


def test_a_missing_answer_is_named(call, answered, capsys):
    served, run = answered()
    file = served / "predictions" / "small" / "general_vmcq_two.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert call("compare", served, run) == 1
    assert "two-9: no answer by evalscope" in capsys.readouterr().out


def test_other_questions_are_not_compared(call, answered):
    served, run = answered()
    with pytest.raises(SystemExit, match="one-0: evalscope sent"):
        call("compare", served, run, "--without-audio")
    changed(run / "result" / "test.jsonl", 1, question="Why?")
    with pytest.raises(SystemExit, match=r"one-1: pal evaluate asked 'Why\?'; expected 'What do"):
        call("compare", served, run)
