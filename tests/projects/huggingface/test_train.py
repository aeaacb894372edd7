"""Hugging Face's Trainer on a tiny model: alone, resumed, and with adapters of peft."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoProcessor, trainer

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError

pytestmark = pytest.mark.slow
OPTIONS = ["--use_cpu", "True", "--per_device_train_batch_size", "2", "--learning_rate", "0.01"]


@pytest.fixture(autouse=True)
def no_datasets(monkeypatch):
    """Trainer takes tests/datasets, which is on the path of tests, for the package of that name."""
    monkeypatch.setattr(trainer, "is_datasets_available", lambda: False)


def differing(before, after):
    ours, theirs = before.state_dict(), after.state_dict()
    assert ours.keys() == theirs.keys()
    return {name for name in ours if not torch.equal(ours[name], theirs[name])}


def test_steps_change_what_is_trainable_and_nothing_else(script, folder, rows, tmp_path):
    source, out = folder("pal", llm="lora"), tmp_path / "out"
    script("train").main([str(source), rows, str(out), "--max_steps", "2", *OPTIONS])
    before, after = AudioLLM.from_pretrained(source), AudioLLM.from_pretrained(out)
    trained = {name for name, parameter in before.named_parameters() if parameter.requires_grad}
    assert differing(before, after) == trained
    AutoProcessor.from_pretrained(out)


def test_a_resumed_run_ends_as_one_that_was_not_stopped(script, folder, rows, tmp_path):
    source, train = str(folder(llm="lora")), script("train").main
    steps = ["--max_steps", "4", "--save_steps", "2", *OPTIONS]
    train([source, rows, str(tmp_path / "whole"), *steps])
    stopped = str(tmp_path / "whole" / "checkpoint-2")
    train([source, rows, str(tmp_path / "again"), *steps, "--resume_from_checkpoint", stopped])
    whole, again = (AudioLLM.from_pretrained(tmp_path / name) for name in ("whole", "again"))
    assert not differing(whole, again)


def test_resuming_an_llm_trained_in_full_is_refused_by_name(script, folder, rows, tmp_path):
    """Its weights are in a folder of their own, where Trainer does not look."""
    source, out, train = str(folder(llm="full")), tmp_path / "out", script("train").main
    train([source, rows, str(out), "--max_steps", "1", "--save_steps", "1", *OPTIONS])
    stopped = str(out / "checkpoint-1")
    with pytest.raises(CheckpointError, match="from_pretrained"):
        train([source, rows, str(out), *OPTIONS, "--resume_from_checkpoint", stopped])


def test_adapters_of_peft_are_saved_loaded_and_merged(script, folder, rows, clips, tmp_path):
    source, out = str(folder("pal")), tmp_path / "out"
    script("train").main([source, rows, str(out), "--lora", "--max_steps", "2", *OPTIONS])
    base, processor = AutoModelForCausalLM.from_pretrained(source), AutoProcessor.from_pretrained
    talk = [{"role": "user", "content": [{"type": "audio", "audio": clips[1]}]}]
    made = processor(source).apply_chat_template(talk, tokenize=True, return_dict=True)
    untrained = base(**made).logits
    model = PeftModel.from_pretrained(base, out).eval()
    assert not any("encoders" in n for n, p in model.named_parameters() if "lora_" in n)
    tuned = model(**made).logits
    assert not torch.allclose(tuned, untrained, atol=1e-4)
    width = made["input_ids"].shape[1]
    assert model.generate(**made, max_new_tokens=2).shape[1] > width
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged", whole=True)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(again(**made).logits, tuned, atol=1e-5)


def test_adapters_on_adapters_are_refused(script, folder, rows, tmp_path):
    with pytest.raises(SystemExit, match="merge_lora"):
        script("train").main([str(folder(llm="lora")), rows, str(tmp_path / "out"), "--lora"])
