"""lmms-eval itself where it is installed; elsewhere the few names of it that the host imports."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import torch

from pal_plugin.models.audio_llm import AudioLLM


class Lmms:
    """What `lmms_eval.api.model.lmms` gives a model."""

    def __init__(self):
        self.rank = 0
        self.task_dict = {}


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts | None = None


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None


STAND_IN = {
    "lmms_eval": {},
    "lmms_eval.api": {},
    "lmms_eval.api.model": {"lmms": Lmms},
    "lmms_eval.api.instance": {
        "GenerationResult": GenerationResult,
        "Instance": SimpleNamespace,
        "TokenCounts": TokenCounts,
    },
    "lmms_eval.models": {},
    "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
}


@pytest.fixture
def lmms_eval(monkeypatch):
    """Makes `lmms_eval` importable."""
    if importlib.util.find_spec("lmms_eval"):
        return
    for name, content in STAND_IN.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def host(lmms_eval, monkeypatch):
    """`pal_plugin.hosts.lmms_eval.model`, imported anew."""
    name = "pal_plugin.hosts.lmms_eval.model"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.fixture
def tiny(tiny_config):
    """A PAL model with random weights."""
    torch.manual_seed(0)
    return AudioLLM.from_config(tiny_config("pal")).eval()


@pytest.fixture
def documents(two_clips):
    """As lmms-eval's audio tasks have them."""
    return [
        {"audio": {"array": array, "sampling_rate": rate_hz}, "question": question}
        for (array, rate_hz), question in zip(
            two_clips["audio"], two_clips["text_input"], strict=True
        )
    ]
