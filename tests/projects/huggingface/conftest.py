"""The scripts as modules, a tiny model's folder, and rows of conversations."""

import importlib.util
import json
from pathlib import Path

import pytest
import soundfile
import torch

from pal_plugin.models.audio_llm import AudioLLM

SCRIPTS = Path(__file__).parents[3] / "projects" / "pal" / "huggingface"


@pytest.fixture
def script():
    """`script("train")`: a script as a module."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"huggingface_{name}", SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def folder(tiny_config, tmp_path):
    """`folder("lal", llm="lora")`: a model's folder."""

    def make(model_type="lal", **stage):
        torch.manual_seed(0)
        return AudioLLM.from_config(tiny_config(model_type, **stage)).save_pretrained(
            tmp_path / "model"
        )

    return make


@pytest.fixture
def clips(two_clips, tmp_path):
    """Paths of two clips."""
    paths = []
    for number, (array, rate) in enumerate(two_clips["audio"]):
        paths.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(paths[-1], array, rate)
    return paths


@pytest.fixture
def rows(clips, tmp_path):
    """A JSONL of conversations: one clip each, and then two in one."""

    def asked(*paths):
        content = [{"type": "audio", "audio": path} for path in paths]
        question = {"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}
        return {"messages": [question, {"role": "assistant", "content": "rain"}]}

    lines = [json.dumps(asked(*paths)) for paths in (clips[:1], clips[1:], clips)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return str(path)
