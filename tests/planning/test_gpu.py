"""The planned memory beside that of the same step, really taken with random weights.

On a GPU it is Llama 3.2 1B's shape and what CUDA's allocator says (marked gpu; `benchmarks/gpu.sh`
runs it and writes down the figures recorded here). On the CPU the same code runs on a tiny model,
and the bytes are counted.
"""

import contextlib
import gc
from types import SimpleNamespace

import pytest
import torch
from sizes import bytes_of
from transformers import AutoModelForCausalLM

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.planning.counting import LiveBytes
from pal_plugin.planning.gpus import GIB
from pal_plugin.planning.memory import DDP, memory_of
from pal_plugin.planning.shapes import llm_config
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.step import count_step
from pal_plugin.planning.workload import Workload, loss_of, make_batch

STAGE = {"llm": "lora", "lora_targets": "attention_ffn"}
CASES = [("lal", False), ("plits", False), ("pal", False), ("lal", True)]
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize(
    ("device", "kind", "checkpointing"),
    [
        *(pytest.param("cuda", *case, marks=ON_GPU) for case in CASES),
        pytest.param("cpu", "lal", False, marks=pytest.mark.slow),
        ("cpu", "lal", True),
        pytest.param("cpu", "plits", False, marks=pytest.mark.slow),
        pytest.param("cpu", "pal", False, marks=pytest.mark.slow),
    ],
)
def test_peak_memory(device, kind, checkpointing, tiny_config, record_property):
    if device == "cuda":
        cfg, work, autocast = full_size(kind), Workload(8), torch.bfloat16
    else:
        cfg = tiny_config(kind, **STAGE)
        work, autocast = Workload(4, clip_s=1.28, text=120, answer=16), None
    skeleton = build_skeleton(cfg).model
    count = count_step(skeleton, work, autocast=autocast, checkpointing=checkpointing)
    planned = memory_of(skeleton, count, DDP, 1).total

    with measured_on(device) as peak:
        with torch.device(device):  # random numbers are made where they are needed
            model = AudioLLM(**build_components(cfg, load=random_llm)).to(device).train()
        if checkpointing:
            model.checkpoint_activations()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        batch = make_batch(model, work)
        for _ in range(2):  # the first makes the optimizer's states
            with peak.of(model, optimizer, batch):
                with torch.autocast(device, autocast, enabled=autocast is not None):
                    loss = loss_of(model, batch, work.answer)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                del loss
    record_property("planned, GiB", planned / GIB)
    record_property("measured, GiB", peak.bytes / GIB)
    record_property("planned / measured", planned / peak.bytes)
    assert planned == pytest.approx(peak.bytes, rel=0.1)


@contextlib.contextmanager
def measured_on(device):
    """Gives the peak of the last step that was taken: `with peak.of(...)`, then `peak.bytes`."""
    if device == "cpu":
        yield Counted()
        return
    gc.collect()
    torch.cuda.empty_cache()
    yield Allocated(torch.cuda.memory_allocated())


class Allocated(SimpleNamespace):
    def __init__(self, before):
        super().__init__(before=before, bytes=0)

    @contextlib.contextmanager
    def of(self, *_):
        torch.cuda.reset_peak_memory_stats()
        yield
        self.bytes = torch.cuda.max_memory_allocated() - self.before


class Counted(SimpleNamespace):
    @contextlib.contextmanager
    def of(self, model, optimizer, batch):
        states = [t for state in optimizer.state.values() for t in state.values()]
        there = [*model.parameters(), *model.buffers(), *batch.tensors(), *states]
        with LiveBytes(there) as live:
            yield
        inputs = sum(t.nbytes for t in batch.tensors())
        self.bytes = bytes_of(model) + sum(t.nbytes for t in states) + inputs + live.peak[0]


def full_size(kind):
    """A `model:` section of full size."""
    cfg = {
        "encoders": {
            "sslam": {"type": "sslam", "features": {"window_s": 10.0}},
            "clap": {"type": "clap", "features": {"window_s": 10.0}},
        },
        "connectors": {"general": {"type": "lfst", "encoders": ["sslam", "clap"]}},
        "routing": {"general": {"integration": "plits" if kind == "plits" else "lal"}},
        "llm": {"path": "meta-llama/Llama-3.2-1B", "dtype": "bfloat16"},
        "stage": STAGE,
    }
    if kind == "pal":
        cfg["encoders"]["whisper"] = {"type": "whisper"}
        cfg["connectors"]["speech"] = {
            "type": "mlp",
            "encoders": ["whisper"],
            "args": {"pool": 17},
        }
        cfg["routing"]["speech"] = {"integration": "plits"}
    return cfg


def random_llm(path, dtype="float32", **_):
    config, _ = llm_config(path)
    return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)), None
