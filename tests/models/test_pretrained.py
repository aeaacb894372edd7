"""`save_pretrained` and `from_pretrained`: identical outputs, and no other base model."""

import copy
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.checkpoint import CheckpointError

CANDIDATES = ["bell", "rain and wind", "siren"]


def scores(model, clips):
    return model.predict_class(clips, CANDIDATES)["scores"]


@pytest.mark.parametrize(
    ("model_type", "llm"),
    [("lal", "frozen"), ("pal", "lora"), ("plits", "full"), ("flamingo", "lora")],
)
def test_reloading_gives_identical_outputs(trained, two_clips, tmp_path, model_type, llm):
    model = trained(model_type, llm=llm)
    folder = model.save_pretrained(tmp_path / "a")
    again = AudioLLM.from_pretrained(folder)
    assert not again.training
    assert torch.equal(again(two_clips)["loss"], model(two_clips)["loss"])
    assert torch.equal(scores(again, two_clips), scores(model, two_clips))
    assert again.generate(two_clips) == model.generate(two_clips)
    third = AudioLLM.from_pretrained(again.save_pretrained(tmp_path / "b"))
    assert torch.equal(third(two_clips)["loss"], model(two_clips)["loss"])


def test_the_folder_holds_what_was_trained_and_says_so(trained, tiny_llm, tmp_path):
    model = trained(llm="lora")
    folder = model.save_pretrained(tmp_path, metrics={"accuracy on x": 0.5})
    names = set(load_file(folder / "model.safetensors"))
    expected = {n for n, p in model.named_parameters() if p.requires_grad}
    encoders = {n for n in model.state_dict() if n.startswith("encoders.")}  # without checkpoint
    assert names == expected | encoders
    assert not (folder / "llm").exists()
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == model.text.tokenizer.get_vocab()
    card = (folder / "README.md").read_text()
    assert f"base_model: {tiny_llm}" in card
    assert "| general | sslam, clap | lfst | lal | default |" in card
    assert "| accuracy on x | 0.5 |" in card
    assert "AudioLLM.from_pretrained" in card


def test_merged_adapters_make_a_stock_llm(trained, two_clips, tmp_path):
    model = trained(llm="lora")
    before = scores(model, two_clips)
    folder = model.merge_lora().save_pretrained(tmp_path)
    again = AudioLLM.from_pretrained(folder)
    after = scores(again, two_clips)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()
    assert torch.equal(after, scores(model, two_clips))
    assert not any("llm." in name for name in load_file(folder / "model.safetensors"))
    stock = AutoModelForCausalLM.from_pretrained(folder / "llm")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(stock(input_ids=ids).logits, again.llm(input_ids=ids).logits)
    assert "which is not in this folder" not in (folder / "README.md").read_text()


def test_the_base_llm_may_be_elsewhere_and_in_another_type(trained, tiny_llm, two_clips, tmp_path):
    model = trained()
    moved = tmp_path / "moved"
    base = AutoModelForCausalLM.from_pretrained(tiny_llm)
    base.save_pretrained(moved)
    model.text.tokenizer.save_pretrained(moved)
    folder = model.save_pretrained(tmp_path / "model")
    facts = json.loads((folder / "config.json").read_text())
    facts["model"]["llm"]["path"] = "owner/base"
    (folder / "config.json").write_text(json.dumps(facts))
    again = AudioLLM.from_pretrained(folder, llm=str(moved))
    assert torch.equal(again(two_clips)["loss"], model(two_clips)["loss"])
    half = AudioLLM.from_pretrained(folder, llm=str(moved), dtype="bfloat16")
    assert torch.allclose(half(two_clips)["loss"].float(), model(two_clips)["loss"], rtol=0.05)


def test_an_interrupted_save_leaves_no_mixture(trained, two_clips, tmp_path, monkeypatch):
    first, second = trained(llm="lora"), trained(llm="full")
    expected = scores(first, two_clips)
    folder = first.save_pretrained(tmp_path / "model")

    def while_writing(*_, **__):
        raise KeyboardInterrupt

    def while_moving(source, target, replace=os.replace):
        if target == folder / "model.safetensors":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(second.text.tokenizer), "save_pretrained", while_writing)
        with pytest.raises(KeyboardInterrupt):
            second.save_pretrained(folder)
    assert not list(folder.glob(".saving-*"))
    assert torch.equal(scores(AudioLLM.from_pretrained(folder), two_clips), expected)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", while_moving)
        with pytest.raises(KeyboardInterrupt):
            second.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        AudioLLM.from_pretrained(folder)
    again = AudioLLM.from_pretrained(second.save_pretrained(folder))
    assert torch.equal(scores(again, two_clips), scores(second, two_clips))
    over_itself = AudioLLM.from_pretrained(again.save_pretrained(folder))
    assert torch.equal(scores(over_itself, two_clips), scores(second, two_clips))


def test_a_trained_encoder_keeps_the_sizes_of_its_folder(tiny_config, two_clips, tmp_path):
    from transformers import WhisperConfig, WhisperModel

    sizes = {
        f"{half}_{name}": value
        for half in ("encoder", "decoder")
        for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))
    }
    sizes |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 9}
    config = WhisperConfig(d_model=16, max_source_positions=64, decoder_start_token_id=1, **sizes)
    WhisperModel(config).save_pretrained(tmp_path / "whisper")
    section = copy.deepcopy(tiny_config("lal", encoders="full"))
    section["encoders"]["whisper"] = {
        "type": "whisper",
        "checkpoint": str(tmp_path / "whisper"),
        "features": {"window_s": 1.28},
    }
    model = AudioLLM.from_config(section).eval()
    folder = model.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "whisper")
    again = AudioLLM.from_pretrained(folder)
    assert torch.equal(scores(again, two_clips), scores(model, two_clips))


@pytest.mark.parametrize(("model_type", "llm"), [("lal", "lora"), ("flamingo", "lora")])
def test_frozen_new_parts_go_along(trained, two_clips, tmp_path, model_type, llm):
    model = trained(model_type, connectors="frozen", llm=llm)
    again = AudioLLM.from_pretrained(model.save_pretrained(tmp_path))
    assert torch.equal(scores(again, two_clips), scores(model, two_clips))


def test_the_storage_type_is_the_llms_too(trained, two_clips, tmp_path):
    model = trained(llm="full")
    folder = model.save_pretrained(tmp_path, dtype=torch.bfloat16)
    stored = load_file(folder / "llm" / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    assert (
        AutoModelForCausalLM.from_pretrained(folder / "llm", dtype="auto").dtype == torch.bfloat16
    )
    assert next(model.llm.parameters()).dtype == torch.float32
    again = AudioLLM.from_pretrained(folder)
    assert torch.allclose(scores(again, two_clips), scores(model, two_clips), atol=0.1)


def test_errors(tiny_model, tiny_config, tmp_path):
    cfg = tiny_config("lal", llm="full")
    cfg["llm"]["quantize"] = "4bit"
    with pytest.raises(ValueError, match="quantized LLM cannot be trained in full"):
        AudioLLM.from_config(cfg)
    with pytest.raises(ValueError, match=r"model: unknown 'encoder' .did you mean 'encoders'"):
        AudioLLM.from_config({**cfg, "encoder": {}})
    with pytest.raises(CheckpointError, match="has no configuration"):
        tiny_model("lal").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        AudioLLM.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no model type or folder .nothing_here"):
        AudioLLM.from_pretrained("nothing_here")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="was not written by pal_plugin"):
        AudioLLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("lall", "no model type or folder 'lall'. Did you mean 'lal'"),
        (None, "the model is None; expected a type"),
        ("", "the model is ''; expected a type"),
    ],
)
def test_what_is_no_model_is_told_with_what_there_is(source, told):
    with pytest.raises(CheckpointError, match=told):
        AudioLLM.from_pretrained(source)


def test_what_is_no_run_is_told_apart(tmp_path):
    for path, told in (
        (None, "None: no such file or folder"),
        (tmp_path / "gone", "no such file or folder; expected a run folder"),
        (tmp_path, "no checkpoint_best.safetensors in it"),
    ):
        with pytest.raises(CheckpointError, match=told):
            AudioLLM.from_run(path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="no model.json next to it"):
        AudioLLM.from_run(tmp_path / "model.safetensors")


def test_what_is_no_section_or_no_checkpoint_is_told(tiny_model):
    for nothing in (None, "lal", [], 5):
        with pytest.raises(ValueError, match=r"expected a model section, .*from_pretrained"):
            AudioLLM.from_config(nothing)
    with pytest.raises(CheckpointError, match="the checkpoint is None; expected a run folder"):
        tiny_model("lal").load_checkpoint(None)


def test_a_whole_folder_needs_no_base_and_keeps_the_place_of_audio(
    trained, tiny_llm, tmp_path, caplog
):
    model = trained()
    model.audio_place = "inline"
    folder = model.save_pretrained(tmp_path / "whole", whole=True)
    assert tiny_llm not in (folder / "config.json").read_text()
    again = AudioLLM.from_pretrained(folder)
    assert again.audio_place == "inline"
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "of type `pal`" not in caplog.text  # transformers, of a config.json that is not an LLM's
