"""LLMs out of GGUF files: the same model as the stock folder, saved and trained like any other."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pal_plugin.llm import gguf as ours
from pal_plugin.llm.loading import load_llm, read_config
from pal_plugin.llm.pocket_chat import END, PAD, SPECIAL_TOKENS, TEMPLATE
from pal_plugin.planning.shapes import llm_config
from pal_plugin.soundworld import text_corpus
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import is_hub_id
from pal_plugin.utils.locations import weights_folder

gguf = pytest.importorskip("gguf", reason="gguf is not installed")

LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
#: What rounding to four bits may change, of the largest weight of 32.
Q4_1 = 0.5 / 15 * 2


def named(key: str) -> str:
    """llama.cpp's name of a weight."""
    key = key.removesuffix(".weight")
    if key in NAMES:
        return f"{NAMES[key]}.weight"
    _, _, layer, inner = key.split(".", 3)
    return f"blk.{layer}.{LAYER[inner]}.weight"


def rotary_rows(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The order of rows in which llama.cpp turns neighbours."""
    halves = weight.reshape(heads, 2, len(weight) // heads // 2, -1)
    return halves.transpose(1, 2).reshape(weight.shape)


def write(folder: Path, file: Path, four_bits=False, leave=(), also=()) -> Path:
    """The stock model in `folder` as a GGUF."""
    llm = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer, config = AutoTokenizer.from_pretrained(folder), llm.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = {"<|endoftext|>", *SPECIAL_TOKENS}
    tokens = sorted(words["vocab"], key=words["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in words["merges"]])
    for add in (writer.add_bos_token_id, writer.add_unk_token_id):  # transformers 4 asks for them
        add(words["vocab"]["<|endoftext|>"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, weight in llm.state_dict().items():
        if key in leave:
            continue
        part = key.split(".")[-2]
        weight = rotary_rows(weight, heads[part]) if part in heads else weight
        values = weight.float().numpy()
        if four_bits and values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(named(key), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(named(key), values)
    for name in also:
        writer.add_tensor(name, torch.ones(4).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    """A folder of a tiny Llama, with the tokenizer of a GPT-2 as GGUF files know it."""
    folder = tmp_path_factory.mktemp("stock")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", *SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(itertools.islice(text_corpus(0), 300), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, chat_template=TEMPLATE
    )
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
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(stock, tmp_path_factory):
    return write(stock, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_it_equals_the_stock_folder(stock, file):
    stock, stock_text = load_llm(stock)
    for path in (file, file.parent):
        llm, text = load_llm(path)
        expected = stock.state_dict()
        assert llm.state_dict().keys() == expected.keys()
        assert all(torch.equal(t, expected[name]) for name, t in llm.state_dict().items())
        for sentence in ("Is there a bell?", "Zwölf  siren\nrain"):
            assert text.prompt_ids(sentence) == stock_text.prompt_ids(sentence)
            assert text.answer_ids(sentence) == stock_text.answer_ids(sentence)
        assert text.end_id == stock_text.end_id
        assert text.tokenizer.chat_template == stock_text.tokenizer.chat_template
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(llm(input_ids=ids).logits, stock(input_ids=ids).logits)


def test_four_bits_are_unpacked_to_the_type_asked_for(stock, tmp_path):
    file = write(stock, tmp_path / "tiny.Q4_1.gguf", four_bits=True)
    exact = AutoModelForCausalLM.from_pretrained(stock).state_dict()
    for dtype in ("float32", "bfloat16"):
        llm, _ = load_llm(file, dtype, "eager")
        assert llm.config._attn_implementation == "eager"
        assert {p.dtype for p in llm.parameters()} == {getattr(torch, dtype)}
        assert type(llm.model.layers[0].self_attn.q_proj) is torch.nn.Linear
        for name, weight in llm.state_dict().items():
            error = (weight.float() - exact[name]).abs().max()
            assert error <= Q4_1 * exact[name].abs().max()
    assert not torch.equal(llm.lm_head.weight.float(), exact["lm_head.weight"])


def test_it_is_saved_as_a_stock_folder_and_trained(file, tmp_path):
    llm, text = load_llm(file)
    assert getattr(llm.config, "quantization_config", None) is None
    assert getattr(llm, "hf_quantizer", None) is None
    llm.save_pretrained(tmp_path)
    text.tokenizer.save_pretrained(tmp_path)
    again, words = load_llm(tmp_path)
    expected = llm.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in again.state_dict().items())
    assert words.prompt_ids("Is it?") == text.prompt_ids("Is it?")
    llm(input_ids=torch.tensor([[5, 6]])).logits.sum().backward()
    assert all(p.grad is not None for p in llm.parameters())


def test_it_is_unpacked_once_to_the_same_model(stock, tmp_path):
    file = write(stock, tmp_path / "tiny.Q4_1.gguf", four_bits=True)
    target = tmp_path / "unpacked"
    target.mkdir()
    assert ours.unpack(tmp_path, target)
    assert not list(target.glob("*.gguf"))
    modes = {path.stat().st_mode for path in target.iterdir()}
    assert modes == {file.stat().st_mode}
    for dtype in ("float32", "bfloat16"):
        (packed, words), (unpacked, same_words) = load_llm(file, dtype), load_llm(target, dtype)
        expected = packed.state_dict()
        assert unpacked.state_dict().keys() == expected.keys()
        assert all(torch.equal(t, expected[name]) for name, t in unpacked.state_dict().items())
        assert same_words.prompt_ids("Zwölf  siren") == words.prompt_ids("Zwölf  siren")
        assert same_words.tokenizer.chat_template == words.tokenizer.chat_template
        assert (same_words.end_ids, same_words.pad_id) == (words.end_ids, words.pad_id)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not ours.unpack(target, empty)
    assert not list(empty.iterdir())


def test_a_full_disk_is_told_and_leaves_it_packed(file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", full)
    with pytest.raises(ConfigError, match=r"which takes \d+ MB: .*No space left.* GGUF works, too"):
        ours.unpack(file.parent, tmp_path)
    assert file.is_file()


def test_half_precision_does_not_hold_what_four_bits_stand_for(stock, tmp_path):
    llm, _ = load_llm(write(stock, tmp_path / "tiny.Q4_1.gguf", four_bits=True))
    weight = llm.model.layers[0].self_attn.q_proj.weight
    for half in (torch.float16, torch.bfloat16):
        assert not torch.equal(weight.to(half).float(), weight)


def test_a_model_around_the_one_loads_on_the_other(tiny_config, two_clips, stock, tmp_path):
    from pal_plugin.models.audio_llm import AudioLLM

    file = write(stock, tmp_path / "tiny.Q4_1.gguf", four_bits=True)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    ours.unpack(tmp_path, unpacked)
    for base, other in ((file, unpacked), (unpacked, file)):
        section = {**tiny_config("lal", llm="lora"), "llm": {"path": str(base)}}
        model = AudioLLM.from_config(section).eval()
        folder = model.save_pretrained(tmp_path / f"on_{base.name}")
        again = AudioLLM.from_pretrained(folder, llm=str(other))
        assert again.fingerprint() == model.fingerprint()  # an AudioKV of the one fits the other
        assert torch.equal(again(two_clips)["loss"], model(two_clips)["loss"])
    with pytest.raises(ValueError, match="differs"):
        AudioLLM.from_pretrained(folder, llm=str(stock))
    weights = load_file(unpacked / "model.safetensors")
    weights["model.norm.weight"] *= 2
    save_file(weights, unpacked / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="has other weights"):
        AudioLLM.from_pretrained(folder)


def test_a_model_around_it_is_saved_and_comes_back(tiny_config, file, tmp_path):
    from pal_plugin.models.audio_llm import AudioLLM

    section = {**tiny_config("lal", llm="full"), "llm": {"path": str(file)}}
    model = AudioLLM.from_config(section).eval()
    model.save_pretrained(tmp_path / "whole")  # the LLM, trained in full, becomes a stock folder
    whole = AudioLLM.from_pretrained(tmp_path / "whole")
    adapted = AudioLLM.from_config({**section, "stage": {"llm": "lora"}}).eval()
    adapted.save_pretrained(tmp_path / "adapted")  # the LLM stays where it was
    again = AudioLLM.from_pretrained(tmp_path / "adapted")
    for made, source in ((whole, model), (again, adapted)):
        expected = source.llm.state_dict()
        assert all(torch.equal(t, expected[name]) for name, t in made.llm.state_dict().items())


def test_a_plan_reads_the_same_sizes(file):
    config, source = llm_config(str(file))
    assert (config.hidden_size, config.num_hidden_layers) == (32, 3)
    assert source == f"the GGUF {file}"
    assert read_config(file).vocab_size == config.vocab_size


def test_which_file_of_a_folder(stock, file, tmp_path):
    copied = shutil.copytree(stock, tmp_path / "stock")
    shutil.copy(file, copied / "beside.gguf")
    assert ours.find(copied) is None  # weights that need no unpacking come first
    both = tmp_path / "both"
    both.mkdir()
    for name in ("a.gguf", "b.gguf"):
        shutil.copy(file, both / name)
    with pytest.raises(ValueError, match=f"{both} has 2 GGUF files: a.gguf, b.gguf; set"):
        load_llm(both)
    assert not is_hub_id("models/tiny.gguf")


def test_damaged_and_foreign_files_are_named(file, tmp_path):
    whole = file.read_bytes()
    damaged = tmp_path / "damaged.gguf"
    for length in (10, 100, 2000, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"cannot read {damaged} \(is it complete\?\)"):
            load_llm(damaged)
    damaged.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_llm(damaged)
    damaged.write_bytes(b"PK" + whole)
    with pytest.raises(ValueError, match=f"{damaged} is not a GGUF file: it starts with b'PKGG'"):
        load_llm(damaged)
    writer = gguf.GGUFWriter(damaged, "clip")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="cannot read .*clip"):
        load_llm(damaged)


def test_what_the_file_lacks_or_is_not_read_is_an_error(stock, tmp_path):
    lost = "model.layers.1.mlp.up_proj.weight"
    file = write(stock, tmp_path / "a.gguf", leave={lost})
    with pytest.raises(ValueError, match=rf"a\.gguf lacks weights of Llama\w+: {lost}"):
        load_llm(file)
    file = write(stock, tmp_path / "b.gguf", also=["rope_freqs.weight"])
    with pytest.raises(ValueError, match="scales its rotary positions"):
        load_llm(file)


def test_what_cannot_be_asked_of_it(file, monkeypatch):
    with pytest.raises(ValueError, match=r"llm\.quantize: 4bit is for folders"):
        load_llm(file, quantize="4bit")
    monkeypatch.setattr(ours.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install gguf"):
        load_llm(file)


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_smollm2():
    folder = weights_folder() / "smollm2-135m-instruct"
    if not folder.is_dir():
        pytest.skip("needs the weights of `pal weights get small`")
    llm, text = load_llm(folder)
    ids = torch.tensor([text.prompt_ids("What is the capital of France?")])
    answer = llm.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in text.decode(answer)
