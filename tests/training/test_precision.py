"""Precision, memory and speed options on a real small model: the same step, or nearly."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from parallel_worker import Schedule, Task

from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training.progress import Progress
from pal_plugin.training.streams import MicroBatch
from pal_plugin.training.trainer import Trainer
from pal_plugin.utils.precision import Precision


@pytest.fixture
def train(tiny_model, tiny_config):
    """train(amp, ...) -> losses of a few steps, and the trainer."""
    hear = AudioFrontend(tiny_config("pal")["encoders"])
    generator = torch.Generator().manual_seed(0)
    clips = [(torch.randn(n, generator=generator).numpy(), 16000) for n in (8000, 20000)]
    samples = {
        "audio": AudioFrontend.collate([hear(clip) for clip in clips]),
        "text_input": ["What do you hear?", "And now?"],
        "text_output": ["a bell", "rain"],
        "num_clips": 2,
    }

    def run(amp="none", device="cpu", prepare=lambda model: None, steps=4, goes_on=None):
        model = tiny_model("pal", llm="lora").to(device)
        prepare(model)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        lines = []
        first = 0 if goes_on is None else goes_on.progress.micros
        trainer = Trainer(
            task=Task(),
            model=model,
            plain=model,
            batches=(
                MicroBatch(i, {"stream": 0, "place": i + 1}, copy.copy(samples))
                for i in range(first, 99)
            ),
            optimizer=optimizer,
            schedule=Schedule(),
            precision=Precision(amp, torch.device(device)),
            device=torch.device(device),
            grad_clip=1.0,
            log_freq=1,
            report=lines.append,
        )
        if goes_on is not None:
            model.load_state_dict(goes_on.plain.state_dict())
            trainer.progress = Progress.from_json(goes_on.progress.to_json())
            trainer.precision.scaler.load_state_dict(goes_on.precision.scaler.state_dict())
        trainer.epoch(steps)
        return [line["batch_loss"] for line in lines], trainer

    return run


def test_seconds_of_audio_and_tokens_are_told(train):
    _, trainer = train(steps=2)
    assert trainer.progress.stats.audio_s == pytest.approx(2 * 28000 / 16000, rel=0.03)
    answers = ["a bell", "rain"]
    tokens = sum(len(trainer.plain.text.answer_ids(a)) for a in answers)
    assert trainer.progress.stats.tokens == 2 * tokens


def test_bf16_on_the_cpu_is_bf16_and_near(train):
    exact, _ = train()
    near, _ = train("bf16")
    assert near != exact
    assert near == pytest.approx(exact, rel=0.05)
    assert train("fp32")[0] == exact


def test_checkpointing_the_layers_changes_nothing(train):
    calls = []

    def prepare(model):
        model.checkpoint_activations()
        model.decoder.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))

    assert train(prepare=prepare, steps=2)[0] == pytest.approx(train(steps=2)[0], rel=1e-5)
    assert len(calls) == 4  # twice a step


@pytest.mark.slow
def test_compiled_layers_take_the_same_steps(train):
    def prepare(model):
        model.decoder.compile(dynamic=True)

    assert train(prepare=prepare)[0] == pytest.approx(train()[0], rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_on_a_gpu(train, amp, tmp_path):
    """Near the CPU's steps; a scaler's state goes on with the rest."""
    exact, _ = train()
    found, first = train(amp, "cuda")
    assert found == pytest.approx(exact, rel=0.05)
    path = checkpoints.write(
        tmp_path,
        4,
        lambda file: file.write_bytes(b""),
        checkpoints.optimizer_tensors(first.optimizer, first.plain),
        {},
        1,
    )
    _, again = train(amp, "cuda", steps=4, goes_on=first)
    checkpoints.restore_optimizer(again.optimizer, again.plain, path)
    assert again.precision.scaler.get_scale() == first.precision.scaler.get_scale()
    states = [again.optimizer.state[p]["exp_avg"] for p in again._parameters]
    assert all(s.device.type == "cuda" for s in states)
