"""evaluate.py from end to end: recipes of projects/pal/evaluate on real clips and annotations, with
the pocket model."""

import csv
import json
from itertools import islice
from pathlib import Path

import jiwer
import pytest
from cli import evaluate

from pal_plugin.commands.main import main as pal

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
ESC = SHARED / "audio" / "esc10_f1234"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"the development data are not at {SHARED}"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(recipe, options...) -> (entries of metrics.json, rows, evaluation.json) by split."""
    monkeypatch.setenv("PAL_DATA", str(tmp_path / "data"))

    def make(recipe, *options):
        options = [
            *("model.checkpoint=pocket://lal.safetensors", f"run.output_dir={tmp_path / 'out'}"),
            *("run.num_workers=0", "run.torch_threads=null", "run.batch_size_eval=4", *options),
        ]
        path = ROOT / "projects" / "pal" / "evaluate" / f"{recipe}.yaml"
        argv = ["--cfg-path", str(path), "--job-id", "run", "--options", *options]
        assert evaluate(argv) == 0
        folder = tmp_path / "out" / "run"
        assert pal(["results", str(folder), "--draws", "50"]) == 0
        metrics = json.loads((folder / "metrics.json").read_text())
        rows = {
            split: [
                json.loads(line)
                for line in (folder / "result" / f"{split}.jsonl").read_text().splitlines()
            ]
            for split in metrics
        }
        return metrics, rows, json.loads((folder / "evaluation.json").read_text())

    return make


def place(source, target):
    """The real clip under the name that the annotation gives, as its own kind of file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(source.suffix).symlink_to(source)


def esc_clips(*labels, each):
    with (ESC / "esc10_f1234.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        r for label in labels for r in islice((r for r in rows if r["category"] == label), each)
    ]


def test_esc50(run, tmp_path):
    rows = esc_clips("dog", "rain", each=3)
    folder = tmp_path / "data" / "ESC-50-master"
    for row in rows:
        place(ESC / row["filename"], folder / "audio" / row["filename"])
    (folder / "meta").mkdir()
    with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    metrics, answered, told = run("esc50")
    entry = metrics["test"]["classification"]
    assert entry["n"] == 6
    assert entry["chance"] == 0.5
    right = [row["prediction"] == row["reference"] for row in answered["test"]]
    assert entry["accuracy"] == pytest.approx(sum(right) / 6)
    assert {row["prediction"] for row in answered["test"]} <= {"dog", "rain"}
    assert len({row["prediction_masked"] for row in answered["test"]}) == 1  # it hears nothing
    assert {row["question"] for row in answered["test"]} == {
        "Close-ended question: Write an audio caption describing the sound."
    }
    origin = told["test"]["provenance"]
    assert origin["clips"] == {"in the datasets": 6, "answered": 6, "left out": 0}
    assert str(folder / "meta" / "esc50.csv") in origin["data"]["pal_esc50"]
    assert "likelihood" in told["test"]["figures"]["classification"]["how"]["accuracy"]


def test_librispeech_with_read_speech(run, tmp_path):
    speech = SHARED / "audio" / "speech" / "transcribed"
    with (speech / "transcripts.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["seconds"]))[:4]
    for split, some in (("test-clean", rows[:2]), ("test-other", rows[2:])):
        folder = tmp_path / "data" / "LibriSpeech" / split / "12" / "34"
        lines = []
        for number, row in enumerate(some):
            place(speech / row["file"], folder / f"12-34-{number:04d}.flac")
            lines.append(f"12-34-{number:04d} {row['transcript'].upper()}")
        (folder / "12-34.trans.txt").write_text("\n".join(lines) + "\n")
    metrics, answered, told = run("librispeech", "run.max_new_tokens=16")
    for split in ("test_clean", "test_other"):
        entry = metrics[split]["transcript"]
        assert entry["n"] == 2
        said = [row["prediction"] for row in answered[split]]
        right = [row["reference"] for row in answered[split]]
        assert entry["wer_raw"] == pytest.approx(jiwer.wer(right, said))
        assert entry["wer"] <= entry["wer_raw"]  # the references are in capitals
        assert "jiwer" in told[split]["figures"]["transcript"]["how"]["wer_whisper"]


def test_clotho_rows_with_clips_paired_by_hand(run, tmp_path):
    source = SHARED / "annotations" / "clotho" / "clotho_captions_evaluation.csv"
    head, *lines = source.read_text("utf-8").splitlines()[:5]
    folder = tmp_path / "data" / "clotho"
    folder.mkdir(parents=True)
    (folder / source.name).write_text("\n".join([head, *lines]) + "\n", "utf-8")
    rows = list(csv.DictReader([head, *lines]))
    for row, clip in zip(rows, esc_clips("rain", "dog", each=2), strict=True):
        place(ESC / clip["filename"], folder / "evaluation" / row["file_name"])
    options = ("tokenizer=plain", "metrics=[bleu,rouge_l,cider,spice]")
    settings = [f"run.evaluation.caption.{option}" for option in options]
    metrics, answered, told = run("clotho", *settings, "run.max_new_tokens=12")
    entry = metrics["test"]["caption"]
    assert entry["n"] == 4
    assert {len(row["answers"]) for row in answered["test"]} == {5}
    assert answered["test"][0]["answers"][0] == rows[0]["caption_1"]
    assert all(row["prediction"] for row in answered["test"])
    assert 0 <= entry["bleu_1"] <= 1
    assert entry["cider"] >= 0
    assert entry["loss"] > 0
    figures = told["test"]["figures"]["caption"]
    assert "pycocoevalcap" in figures["how"]["rouge_l"]
    assert "spice" in entry or figures["missing"]["spice"]


def test_mmau_rows_with_clips_paired_by_hand(run, tmp_path):
    source = SHARED / "annotations" / "mmau" / "mmau-test-mini_excerpt.json"
    every = json.loads(source.read_text("utf-8"))
    rows = [r for task in ("sound", "speech") for r in [r for r in every if r["task"] == task][:2]]
    folder = tmp_path / "data" / "mmau"
    for row, clip in zip(rows, esc_clips("rain", "dog", each=2), strict=True):
        place(ESC / clip["filename"], folder / row["audio_id"])
    (folder / "mmau-test-mini.json").write_text(json.dumps(rows), "utf-8")
    metrics, answered, _ = run("mmau", "run.max_new_tokens=12")
    entry = metrics["test"]["multiple_choice"]
    assert entry["n"] == 4
    assert {"multiple_choice/sound", "multiple_choice/speech"} <= set(metrics["test"])
    assert entry["accuracy"] + entry["unparsed"] <= 1
    assert {"accuracy_mmau_rule", "accuracy_ranked", "accuracy_masked_audio"} <= set(entry)
    for row, source_row in zip(answered["test"], rows, strict=True):
        assert row["question"].endswith(f"{source_row['choices']}.")
        assert row["asked"][0]["ranked"] in source_row["choices"]
