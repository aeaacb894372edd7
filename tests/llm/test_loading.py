"""Loading an LLM: folders that `save_pretrained` wrote, and errors that say what to do."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pal_plugin.llm import loading
from pal_plugin.llm.loading import load_llm, read_config
from pal_plugin.utils.hub import HubError


def test_a_folder_of_save_pretrained(tiny_llm):
    llm, text = load_llm(tiny_llm, "bfloat16", "eager")
    stock = AutoModelForCausalLM.from_pretrained(tiny_llm, dtype=torch.bfloat16)
    assert llm.config._attn_implementation == "eager"
    ours, theirs = llm.state_dict(), stock.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert text.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(tiny_llm).get_vocab()


def test_torch_weights_without_safetensors(tiny_llm, tmp_path):
    llm, text = load_llm(tiny_llm)
    text.tokenizer.save_pretrained(tmp_path)
    llm.config.save_pretrained(tmp_path)
    torch.save(llm.state_dict(), tmp_path / "pytorch_model.bin")
    again, _ = load_llm(tmp_path)
    assert torch.equal(again.lm_head.weight, llm.lm_head.weight)


def test_from_the_hub(tiny_llm, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append((name, "model.safetensors" in allow_patterns))
        return tiny_llm

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    llm, _ = load_llm("owner/tiny")
    assert llm.config.hidden_size == 32
    assert asked == [("owner/tiny", True)]


def test_offline_it_says_how_to_get_the_files(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(HubError, match=r"hf download owner/tiny --local-dir DIR"):
        load_llm("owner/tiny")


def test_weights_that_are_not_in_the_cache_are_named(tiny_llm, monkeypatch, tmp_path):
    for path in Path(tiny_llm).glob("*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(HubError, match=r"'own.* neither model\.safetensors nor pytorch_model\.bin"):
        load_llm("owner/tiny")
    with pytest.raises(ValueError, match=f"cannot load the LLM in {tmp_path}: Error no file"):
        load_llm(tmp_path)
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}, "metadata": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(HubError, match=r"cannot load the LLM owner/tiny.*hf download owner/tiny"):
        load_llm("owner/tiny")
    with pytest.raises(ValueError, match=f"cannot load the LLM in {tmp_path}"):
        load_llm(tmp_path)


def test_a_part_of_a_shard_is_named_as_such(tiny_llm, monkeypatch, tmp_path):
    folder = shutil.copytree(tiny_llm, tmp_path / "half")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ValueError, match=f"cannot load the LLM in {folder}: Error while deserial"):
        load_llm(folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    with pytest.raises(HubError, match=r"cannot load the LLM owner/tiny.*hf download owner/tiny"):
        load_llm("owner/tiny")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_is_not_run_nor_asked_about(tiny_llm, tmp_path, monkeypatch, file):
    folder, ran = tmp_path / "evil", tmp_path / "ran"
    shutil.copytree(tiny_llm, folder)
    settings = json.loads((folder / file).read_text())
    settings |= {"model_type": "evil", "tokenizer_class": "EvilTokenizer"}
    settings["auto_map"] = {
        "AutoConfig": "evil.C",
        "AutoModelForCausalLM": "evil.M",
        "AutoTokenizer": ["evil.T", None],
    }
    (folder / file).write_text(json.dumps(settings))
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')")
    # As at a terminal: the question would be answered by yes.
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="custom code"):
        load_llm(folder)
    assert not ran.exists()


def test_folders_that_hold_no_llm(tiny_llm, tmp_path):
    with pytest.raises(HubError, match="neither an existing path nor a hub id"):
        load_llm(tmp_path / "nothing" / "here" / "at" / "all")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_llm(tmp_path)
    llm, text = load_llm(tiny_llm)
    llm.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer in"):
        load_llm(tmp_path)
    small = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=9,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        )
    )
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(
        ValueError, match=f"{len(text.tokenizer)} tokens, but the LLM only embeds 9"
    ):
        load_llm(tmp_path / "small", tokenizer=tiny_llm)


def test_unknown_values(tiny_llm):
    with pytest.raises(ValueError, match="llm.dtype is 'float8'"):
        load_llm(tiny_llm, dtype="float8")
    with pytest.raises(ValueError, match="llm.quantize is '3bit'"):
        load_llm(tiny_llm, quantize="3bit")


def test_quantizing_without_its_library(tiny_llm, monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install bitsandbytes"):
        load_llm(tiny_llm, quantize="4bit")


@pytest.mark.parametrize(("quantize", "layer"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_a_quantized_llm_hears_and_trains_adapters(tiny_llm, tmp_path, quantize, layer):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from pal_plugin.integration import AudioContext, attach
    from pal_plugin.llm.lora import add_lora, merge_lora

    base, _ = load_llm(tiny_llm)
    base.config.hidden_size, base.config.intermediate_size = 128, 256  # blocks of 64 numbers
    base.config.head_dim = 32
    torch.manual_seed(0)
    LlamaForCausalLM(base.config).save_pretrained(tmp_path)
    llm, _ = load_llm(tmp_path, quantize=quantize, tokenizer=tiny_llm)
    assert type(llm.model.layers[0].self_attn.k_proj).__name__ == layer
    add_lora(attach(llm))
    features = torch.randn(1, 4, 128, requires_grad=True)
    audio = AudioContext(features, torch.ones(1, 4, dtype=torch.bool))
    ids = torch.tensor([[5, 6, 7]])
    heard = llm(input_ids=ids, audio=audio).logits
    assert not torch.allclose(heard, llm(input_ids=ids).logits)
    heard.sum().backward()
    assert features.grad.abs().max() > 0
    with pytest.raises(ValueError, match="load the LLM with llm.quantize: null"):
        merge_lora(llm)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"has no config\.json and no GGUF"),
        ("{", r"config\.json is not valid JSON"),
        ("{}", "has the model_type None, unknown to transformers"),
        ("[]", "has the model_type None"),
        ('{"model_type": "nonesuch"}', "has the model_type 'nonesuch'"),
    ],
)
@pytest.mark.parametrize("read", [read_config, load_llm])
def test_a_folder_that_is_no_llm_is_told_by_what_it_lacks(content, told, read, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=told):
        read(tmp_path)
