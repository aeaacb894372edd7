"""The tasks over a folder of clips; by lmms-eval itself where it is installed."""

import importlib.util
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pal_plugin.clips import clip, clips
from pal_plugin.models.audio_llm import AudioLLM

FOLDER = Path(__file__).parents[3] / "projects" / "pal" / "lmms_eval"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four clips and their CSV, as the working directory."""
    chosen = clips()[:4]
    for one in chosen:
        shutil.copy(one.path, tmp_path)
    lines = [f"{one.path.name},{one.label}" for one in chosen]
    (tmp_path / "clips.csv").write_text("\n".join(["filename,label", *lines]))
    monkeypatch.chdir(tmp_path)
    return chosen


def test_what_the_tasks_ask(folder):
    spec = importlib.util.spec_from_file_location("lmms_eval_clips", FOLDER / "clips.py")
    asked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(asked)
    row = {"filename": "dog.ogg", "label": "dog"}
    assert asked.choices(row) == sorted(one.label for one in folder)
    assert asked.choices(row)[asked.right_choice(row)] == "dog"
    assert asked.audio(row) == ["dog.ogg"]
    assert asked.question(row) == "What do you hear?"
    assert asked.question({**row, "question": "Which animal?"}) == "Which animal?"


ROUNDS = """
import soundfile
from pal_plugin.clips import clip

def arrays(doc):
    samples, rate_hz = soundfile.read(doc["filename"])
    return [{"array": samples, "sampling_rate": rate_hz}]

def rounds(doc, previous_output=None, round_idx=None, previous_round_info=None, **_):
    if round_idx is None:
        return "What do you hear?"
    return [str(clip("dog"))], "And now?", round_idx == 2, previous_output, None

def results(doc, results):
    return {"said": 1.0}
"""
ROUNDS_YAML = """
include: _clips_yaml
task: clips_rounds
output_type: generate_until_multi_round
doc_to_visual: !function rounds.arrays
doc_to_text: !function rounds.rounds
doc_to_target: label
generation_kwargs: {max_new_tokens: 8}
process_results: !function rounds.results
metric_list:
  - {metric: said, aggregation: mean, higher_is_better: true}
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("lmms_eval") and entry_points(group="lmms_eval.models")),
    reason="lmms-eval is not installed, or this package beside it without its entry point",
)
def test_lmms_eval_gets_the_models_own_answers(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    tasks = shutil.copytree(FOLDER, tmp_path / "tasks")
    (tasks / "rounds.py").write_text(ROUNDS)
    (tasks / "clips_rounds.yaml").write_text(ROUNDS_YAML)
    results = simple_evaluate(
        "pal",
        model_args="pretrained=lal",
        tasks=["clips_ranked", "clips_said", "clips_rounds"],
        batch_size=3,
        device="cpu",
        task_manager=TaskManager(include_path=str(tasks)),
    )
    model = AudioLLM.from_pretrained("lal")
    audio = [str(one.path) for one in folder]
    samples = {"audio": audio, "text_input": ["What do you hear?"] * len(audio)}
    labels = sorted(one.label for one in folder)
    ranked = model.predict_class(samples, labels)
    right = [p == one.label for p, one in zip(ranked["predictions"], folder, strict=True)]
    assert results["results"]["clips_ranked"]["acc,none"] == sum(right) / len(right)
    scores = [
        [float(loss) for loss, _ in sample["filtered_resps"]]
        for sample in results["samples"]["clips_ranked"]
    ]
    for got, expected in zip(scores, ranked["scores"].tolist(), strict=True):
        assert got == pytest.approx([-value for value in expected], abs=1e-3)
    said = model.generate(samples, max_new_tokens=16)
    assert [s["filtered_resps"][0] for s in results["samples"]["clips_said"]] == said
    first = model.generate(samples, max_new_tokens=8)
    second = model.ask(clip("dog"), "And now?", max_new_tokens=8)
    got = [s["filtered_resps"][0] for s in results["samples"]["clips_rounds"]]
    assert got == [[one, second] for one in first]
