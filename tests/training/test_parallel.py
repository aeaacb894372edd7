"""DDP and FSDP2 on two processes take the steps of one that accumulates, and give whole files."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import parallel_worker

from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.training import parallel
from pal_plugin.training.checkpointing import restore_optimizer, write
from pal_plugin.training.distributed import ALONE, World
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def batches(tiny_config):
    """Unequal ones; the third holds nothing, as if all its clips were broken."""
    hear = AudioFrontend(tiny_config("pal")["encoders"])
    generator = torch.Generator().manual_seed(0)

    def batch(seconds, answers):
        clips = [
            hear((torch.randn(int(s * 16000), generator=generator).numpy(), 16000)) for s in seconds
        ]
        return {
            "audio": AudioFrontend.collate(clips),
            "text_input": ["What do you hear?"] * len(clips),
            "text_output": answers,
            "question_id": answers,
            "num_clips": len(clips),
        }

    return [
        batch([0.5, 1.0], ["a bell", "rain and then a bell that rings"]),
        batch([1.5], ["rain"]),
        {"text_input": [], "skipped": ["broken.wav (cut)"]},
        batch([0.3, 0.4, 0.5], ["a", "bell", "and rain"]),
    ]


@pytest.fixture
def config(tiny_config):
    """PAL, with layers of their own for each group, both routes for one of them, and gains."""
    config = tiny_config("pal") | {"lal_gain": 0.3}
    config["routing"] = {
        "general": {"integration": "lal", "layers": [0]},
        "speech": [{"integration": "plits", "pool": 2}, {"integration": "lal", "layers": [1]}],
    }
    return config


@pytest.fixture
def everywhere(config, batches, tmp_path, monkeypatch):
    """What two processes did, by way."""
    # They meet at a store that is there already, as under torchrun: its port is never free.
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("PAL_TEST_PORT", str(store.port))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    torch.multiprocessing.spawn(parallel_worker.run, (2, config, batches, str(tmp_path)), nprocs=2)
    return {way: torch.load(tmp_path / f"{way}.pt") for way in parallel_worker.WAYS}


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates(everywhere, config, batches, tmp_path):
    """Their batches differ in length, and so in audio tokens."""
    for way, found in everywhere.items():
        strategy, llm = parallel_worker.WAYS[way]
        half = way.endswith("bf16")
        one = parallel_worker.trained(config, llm, batches, ALONE, accumulate=2)
        assert found["sharded"] == (strategy == "fsdp")
        for (loss, norm, order), (mine, own, same) in zip(
            found["curve"], one["curve"], strict=True
        ):
            assert loss == pytest.approx(mine, rel=0.03 if half else 1e-4), way
            assert norm == pytest.approx(own, rel=0.1 if half else 1e-3), way
            assert order == same
        if half:
            continue
        for name in ("weights", "optimizer"):
            assert found[name].keys() == one[name].keys()
            for key, tensor in one[name].items():
                torch.testing.assert_close(found[name][key], tensor, rtol=1e-2, atol=1e-4)
        assert found["answers"] == one["answers"]
    _the_optimizer_of_shards_fits_a_whole_model(everywhere["fsdp, full"], tmp_path)


def _the_optimizer_of_shards_fits_a_whole_model(found, folder):
    model = torch.nn.Module()
    for name, tensor in found["weights"].items():
        model.register_parameter(name.replace(".", "/"), torch.nn.Parameter(tensor.float()))
    states = {
        key.rsplit(" ", 1)[0].replace(".", "/") + " " + key.rsplit(" ", 1)[1]: tensor
        for key, tensor in found["optimizer"].items()
    }
    named = {key.rsplit(" ", 1)[0] for key in states}
    state = {"trained": sorted(named)}
    path = write(folder, 1, lambda file: file.write_bytes(b""), states, state, 1)
    optimizer = torch.optim.AdamW([p for n, p in model.named_parameters() if n in named])
    restore_optimizer(optimizer, model, path)
    assert len(optimizer.state) == len(named) > 10


def test_what_cannot_be_shared_is_an_error():
    with pytest.raises(ConfigError, match=r"run\.parallel is 'tensor'.*ddp, fsdp"):
        parallel.parallelise(torch.nn.Linear(1, 1), ALONE, "tensor")
    with pytest.raises(ConfigError, match=r"Linear has none; use run\.parallel=ddp"):
        parallel.parallelise(torch.nn.Linear(1, 1), World(0, 2), "fsdp")
    plain = torch.nn.Linear(1, 1)
    assert parallel.parallelise(plain, ALONE, "fsdp") is plain
