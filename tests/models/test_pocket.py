"""What the package ships: the three pocket models load by LAVIS's own functions and hear."""

import csv
import json
from pathlib import Path

# isort: split
import pytest
import soundfile
import torch

pytest.importorskip("lavis", reason="LAVIS is not installed")

from lavis.models import load_model, load_model_and_preprocess, model_zoo

from pal_plugin.soundworld import LABELS, SAMPLE_RATE_HZ, items, render, split_scene
from pal_plugin.utils.locations import POCKET

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "audio"
TYPES = ["lal", "plits", "pal"]
OTHERS = ["flamingo", "small", "small_plits", "small_pal", "small_both", "small_flamingo", "full"]


@pytest.fixture(scope="module", params=TYPES)
def model(request):
    return load_model("pal", request.param, is_eval=True)


@pytest.fixture(scope="module")
def scenes():
    """48 held-out scenes, four of each kind, with a question of their own."""
    chosen = []
    for index in range(48):
        scene, rng = split_scene("test", 0, index)
        kind = next(i for i in items(scene, rng) if i["question_type"] == "kind")
        chosen.append(((render(scene), SAMPLE_RATE_HZ), kind["question"], scene.label))
    return chosen


def test_it_hears_and_does_not_guess(model, scenes):
    audio, questions, labels = (list(column) for column in zip(*scenes, strict=True))
    samples = {"audio": audio, "text_input": questions}
    right = model.predict_class(samples, LABELS)["predictions"]
    accuracy = sum(a == b for a, b in zip(right, labels, strict=True)) / len(labels)
    deaf = {**samples, "audio_mask": torch.zeros(len(labels), dtype=torch.bool)}
    guessed = model.predict_class(deaf, LABELS)["predictions"]
    by_chance = sum(a == b for a, b in zip(guessed, labels, strict=True)) / len(labels)
    assert accuracy >= 0.7
    assert by_chance <= 0.2


def test_it_answers_in_words(model, scenes):
    audio, _, _ = scenes[0]
    answer = model.ask(audio, "Describe what you hear.")
    assert 1 <= len(answer.split()) <= 40
    assert any(kind.split()[-1] in answer or "voice" in answer for kind in LABELS), answer


def test_the_zoo_lists_it():
    assert dict(model_zoo)["pal"] == [*TYPES, *OTHERS]
    assert "pal" in str(model_zoo)


def test_load_model_and_preprocess(tmp_path, scenes):
    model, audio_processors, text_processors = load_model_and_preprocess("pal", "pal", is_eval=True)
    (wave, rate), question, _ = scenes[1]
    path = tmp_path / "clip.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    features = audio_processors["eval"](str(path))
    prompt = text_processors["eval"](f"  {question} ")
    heard = model.generate({"audio": [features], "text_input": [prompt]})
    assert heard == model.generate({"audio": features, "text_input": [prompt]})
    assert heard == model.generate({"audio": [(wave, rate)], "text_input": [question]})


def test_the_configurations_differ_in_routing_only():
    from pal_plugin.config.zoo import MODEL_TYPES, type_config

    assert list(MODEL_TYPES) == [*TYPES, *OTHERS]
    bare = []
    for name in (*TYPES, "flamingo"):
        config = type_config(name)
        for key in ("model_type", "checkpoint", "routing"):
            del config["model"][key]
        bare.append(config)
    assert bare[0] == bare[1] == bare[2]


def test_it_is_small_enough_to_ship():
    files = [path for path in POCKET.rglob("*") if path.is_file()]
    small = [path for path in files if path.name.startswith("small")]
    assert sum(path.stat().st_size for path in small) <= 12e6
    assert sum(path.stat().st_size for path in files if path not in small) <= 12e6


def test_the_card_of_small_has_the_figures_of_its_run():
    card = (POCKET / "README.md").read_text("utf-8").split("## small")[1]
    metrics = json.loads((POCKET / "small.json").read_text("utf-8"))["metrics"]["val"]
    rows = {
        "ESC-10, fold 4": "pal_mini/classification/esc10",
        "instruments, ten kinds": "pal_mini/classification/instruments",
        "recorded digits, three speakers": "pal_mini/classification/digits",
        "recorded digits, a fourth speaker": "pal_mini/classification/digits_unseen_speaker",
        "synthetic digits, unseen voices": "pal_spoken/classification",
    }
    for name, key in rows.items():
        found = metrics[key]
        cells = [found["n"], *(found[k] * 100 for k in ("chance", "accuracy", "accuracy_said"))]
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {name} |"))
        told = [float(cell) for cell in line.split("|")[2:-1]]
        assert told == [pytest.approx(cell, abs=0.06) for cell in cells]
        assert found["accuracy_masked_audio"] <= found["chance"] + 0.01
    for name, key in {"sentences": "transcript", "words in no order": "word_sequence"}.items():
        found = metrics[f"pal_spoken/transcript/{key}"]
        assert f"| {name}, unseen synthetic voices | {found['n']} | {found['wer']:.3f} |" in card


def test_every_recording_that_small_learned_from_is_credited():
    root = Path(__file__).resolve().parents[2]
    splits = csv.DictReader((root / "projects/pal/small/clips.csv").open(encoding="utf-8"))
    trained = {Path(row["filename"]).name for row in splits if row["split"] == "train"}
    credits = list(csv.DictReader((POCKET / "small_credits.csv").open(encoding="utf-8")))
    assert {row["clip"] for row in credits} == trained
    for row in credits:
        assert row["licence"] in ("CC0", "CC-BY")
        assert row["url"]
        assert row["author"] or row["licence"] == "CC0"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data, the development clips")
def test_a_real_clip_goes_through_everything(model):
    clips = sorted((SHARED / "esc10_f1234").glob("*.ogg"))[:2]
    clips += sorted((SHARED / "music" / "librosa_data").glob("*.ogg"))[:1]  # stereo, long
    samples = {"audio": [str(c) for c in clips], "text_input": ["What do you hear?"] * 3}
    ranked = model.predict_class(samples, LABELS)
    assert ranked["scores"].isfinite().all()
    assert all(isinstance(answer, str) and answer for answer in model.generate(samples))
    loss = model({**samples, "text_output": ["a dog barks"] * 3})["loss"]
    assert torch.isfinite(loss)
