"""What the package ships: the three pocket models load by LAVIS's own functions and hear."""

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
    size = sum(path.stat().st_size for path in POCKET.rglob("*") if path.is_file())
    assert size <= 12e6


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
