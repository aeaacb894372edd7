"""A tiny audio-LLM with random weights, for tests that need a whole model but no trained one."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import pal_plugin  # noqa: F401 - before lavis, which it lets import

# One thread each, here and in what tests start: models are tiny, and as many tests run at a time as
# there are cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

sys.path.insert(0, str(Path(__file__).parent))  # toys, processes, sizes
sys.path.insert(0, str(Path(__file__).parent / "integration"))  # families, reference, checks

PARTS = Path(__file__).parents[1] / ".ci" / "parts"
ENCODERS = {
    "sslam": {
        "type": "sslam",
        "checkpoint": None,
        "features": {"window_s": 1.28},
        "model": {"embed_dim": 24, "depth": 1, "num_heads": 2},
    },
    "clap": {
        "type": "clap",
        "checkpoint": None,
        "features": {"window_s": 1.28, "n_fft": 2048, "hop_length": 480},
        "model": {
            "spec_size": 128,
            "depths": [1, 1, 1],
            "num_attention_heads": [1, 1, 2],
            "patch_embeds_hidden_size": 8,
            "window_size": 4,
        },
    },
    "whisper": {
        "type": "whisper",
        "checkpoint": None,
        "features": {"window_s": 1.28},
        "model": {
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "max_source_positions": 64,
        },
    },
}
ROUTES = {
    "lal": ("lal", "lal"),
    "plits": ("plits", "plits"),
    "pal": ("lal", "plits"),
    "flamingo": ("flamingo", "flamingo"),
}


def pytest_addoption(parser):
    parser.addoption("--part", help="only the slow tests of this part of .ci/parts")


@pytest.hookimpl(tryfirst=True)  # before -m leaves the slow ones out
def pytest_collection_modifyitems(config, items):
    """Every slow test belongs to one part of what CI runs in turns; `--part` chooses one."""
    parts = {}
    for line in PARTS.read_text().splitlines():
        name, *prefixes = line.partition("#")[0].split() or [""]
        parts[name] = tuple(prefixes)
    parts.pop("", None)
    part = config.getoption("--part")
    if part is not None and part not in parts:
        raise pytest.UsageError(f"--part {part}: there are {', '.join(parts)}")
    chosen, others = [], []
    for item in items:
        slow = item.get_closest_marker("slow") and not item.get_closest_marker("gpu")
        mine = [name for name, prefixes in parts.items() if item.nodeid.startswith(prefixes)]
        if slow and len(mine) != 1:
            raise pytest.UsageError(f"{item.nodeid} is slow and in {mine or 'no part'} of {PARTS}")
        (chosen if slow and mine == [part] else others).append(item)
    if part is not None:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture(autouse=True)
def one_thread():
    """Also behind a test that trains in this process, as `run.torch_threads` has it."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory) -> str:
    """A folder written by `save_pretrained`: a Llama of 3 layers and a BPE of the sound world."""
    from pal_plugin.pretraining.llm import train_tokenizer
    from pal_plugin.soundworld import text_corpus

    path = tmp_path_factory.mktemp("tiny_llm")
    tokenizer = train_tokenizer(itertools.islice(text_corpus(0), 300), 400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def tiny_config(tiny_llm):
    """`tiny_config("pal", llm="lora")` -> a plain `model:` section; keywords go into the stage."""

    def make(model_type: str, **stage) -> dict:
        general, speech = ROUTES[model_type]
        return {
            "arch": "pal",
            "model_type": model_type,
            "checkpoint": None,
            "encoders": ENCODERS,
            "connectors": {
                "general": {
                    "type": "lfst",
                    "encoders": ["sslam", "clap"],
                    "args": {"grid": [4, 4], "width": 16, "heads": 2, "layers": 1},
                },
                "speech": {"type": "mlp", "encoders": ["whisper"], "args": {"pool": 8}},
            },
            "routing": {
                group: {"integration": name, **({"layers": [1]} if name == "flamingo" else {})}
                for group, name in (("general", general), ("speech", speech))
            },
            "llm": {"path": tiny_llm},
            "stage": stage,
        }

    return make


@pytest.fixture
def trained(tiny_config):
    """`trained("lal", llm="lora")`: a model whose trained weights are random."""

    def make(model_type="lal", **stage):
        from pal_plugin.models.audio_llm import AudioLLM

        torch.manual_seed(0)
        model = AudioLLM.from_config(tiny_config(model_type, **stage)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture
def tiny_model(tiny_config):
    """`tiny_model("lal", ...)` -> an AudioLLM in eval mode, the same weights every time."""
    from pal_plugin.models.audio_llm import AudioLLM
    from pal_plugin.models.build import build_components

    def make(model_type: str, **stage):
        torch.manual_seed(0)
        model = AudioLLM(**build_components(tiny_config(model_type, **stage))).eval()
        for block in model.cross_attention.values():  # fresh gates let nothing through
            torch.nn.init.constant_(block.gate_attention, 0.7)
            torch.nn.init.constant_(block.gate_ffn, 0.3)
        return model

    return make


@pytest.fixture
def two_clips():
    """A short and a longer clip (two windows), with different questions and answers."""
    generator = torch.Generator().manual_seed(0)
    short, long = (0.1 * torch.randn(n, generator=generator) for n in (9_000, 30_000))
    return {
        "audio": [(short.numpy(), 16_000), (long.numpy(), 16_000)],
        "text_input": ["What do you hear?", "Is there a bell, or anything else?"],
        "text_output": ["bell", "no, there is rain"],
    }


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A folder with train-{0,1}.tar (12 clips) and val-{0,1}.tar (8 clips)."""
    from toys import write_shards

    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder)
    return folder


@pytest.fixture
def toy(tmp_path, monkeypatch, shards):
    """Registers the toy model and dataset, and makes `tmp_path` the working directory.

    `toy.config(options...)` is a Config of the recipe `toy.recipe`.
    """
    from toys import register

    from pal_plugin.config.registry import DATASETS, MODELS
    from pal_plugin.config.run_config import load_config

    for known in (MODELS, DATASETS):
        monkeypatch.setattr(known, "entries", dict(known.own()))
    monkeypatch.chdir(tmp_path)
    recipe = register(tmp_path, shards)

    def config(*options):
        return load_config(recipe, list(options))

    return SimpleNamespace(recipe=recipe, config=config, shards=shards, folder=tmp_path)
