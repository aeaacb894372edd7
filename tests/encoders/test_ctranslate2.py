"""Whisper out of CTranslate2 files: equal to a stock folder; damaged ones are named."""

import struct
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pal_plugin.encoders import Whisper, build_encoder
from pal_plugin.encoders.ctranslate2 import (
    DECODER,
    DTYPES,
    decoder_heads,
    is_ctranslate2,
    read_table,
    whisper_weights,
)
from pal_plugin.utils.locations import weights_folder

SIZES = {
    "d_model": 12,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "num_mel_bins": 80,
    "max_source_positions": 100,
}
LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}


def stock_whisper() -> WhisperForConditionalGeneration:
    tokens = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    decoder = {"decoder_layers": 1, "decoder_ffn_dim": 8, "decoder_attention_heads": 2}
    torch.manual_seed(0)
    config = WhisperConfig(**SIZES, **tokens, **decoder, decoder_start_token_id=1)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too
            parameter.copy_(torch.randn_like(parameter).half().float())
    return model


def variables(model: WhisperForConditionalGeneration) -> dict[str, torch.Tensor]:
    """The encoder by CTranslate2's names, and one variable of the decoder."""
    encoder = model.model.encoder
    found = {
        "decoder/embeddings/weight": model.model.decoder.embed_tokens.weight,
        "encoder/num_heads": torch.tensor(3, dtype=torch.int16),
        "encoder/position_encodings/encodings": encoder.embed_positions.weight,
    }

    def add(theirs, module):
        norm = isinstance(module, torch.nn.LayerNorm)
        found[f"encoder/{theirs}/{'gamma' if norm else 'weight'}"] = module.weight
        found[f"encoder/{theirs}/{'beta' if norm else 'bias'}"] = module.bias

    add("conv1", encoder.conv1)
    add("conv2", encoder.conv2)
    add("layer_norm", encoder.layer_norm)
    for i, layer in enumerate(encoder.layers):
        for theirs, ours in LAYER.items():
            add(f"layer_{i}/{theirs}", layer.get_submodule(ours))
        q, k, v = (getattr(layer.self_attn, f"{name}_proj") for name in "qkv")
        stacked = f"encoder/layer_{i}/self_attention/linear_0"
        found[f"{stacked}/weight"] = torch.cat([q.weight, k.weight, v.weight])
        found[f"{stacked}/bias"] = torch.cat([q.bias, torch.zeros_like(q.bias), v.bias])
    return {name: tensor.detach() for name, tensor in sorted(found.items())}


def with_decoder(model: WhisperForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Both parts by CTranslate2's names."""
    decoder = model.model.decoder
    found = {
        "decoder/num_heads": torch.tensor(2, dtype=torch.int16),
        "decoder/start_from_zero_embedding": torch.tensor(0, dtype=torch.int8),
        "decoder/position_encodings/encodings": decoder.embed_positions.weight,
    }

    def add(theirs, module, *kinds):
        for kind, value in zip(kinds, (module.weight, module.bias), strict=True):
            found[f"decoder/{theirs}/{kind}"] = value

    add("layer_norm", decoder.layer_norm, "gamma", "beta")
    for i, layer in enumerate(decoder.layers):
        across = layer.encoder_attn
        for theirs, ours in LAYER.items():
            kinds = ("gamma", "beta") if "norm" in theirs else ("weight", "bias")
            add(f"layer_{i}/{theirs}", layer.get_submodule(ours), *kinds)
        add(f"layer_{i}/attention/layer_norm", layer.encoder_attn_layer_norm, "gamma", "beta")
        add(f"layer_{i}/attention/linear_0", across.q_proj, "weight", "bias")
        add(f"layer_{i}/attention/linear_2", across.out_proj, "weight", "bias")
        for place, projections in (
            ("self_attention/linear_0", [getattr(layer.self_attn, f"{n}_proj") for n in "qkv"]),
            ("attention/linear_1", [across.k_proj, across.v_proj]),
        ):
            biases = [p.bias if p.bias is not None else torch.zeros(12) for p in projections]
            found[f"decoder/layer_{i}/{place}/weight"] = torch.cat([p.weight for p in projections])
            found[f"decoder/layer_{i}/{place}/bias"] = torch.cat(biases)
    return variables(model) | {name: tensor.detach() for name, tensor in found.items()}


def quantized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of linear and convolutional layers in int8, scaled by row."""
    result = {}
    for name, tensor in tensors.items():
        if not (name.startswith("encoder/") and name.endswith("/weight")):
            result[name] = tensor
            continue
        scale = 127 / tensor.flatten(1).abs().amax(1)
        rows = tensor * scale.reshape(-1, *(1,) * (tensor.dim() - 1))
        result |= {name: rows.round().to(torch.int8), f"{name}_scale": scale}
    return result


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def packed(
    tensors: dict[str, torch.Tensor], version=6, spec="WhisperSpec", revision=3, kind=None
) -> bytes:
    data = struct.pack("<I", version) + text(spec) + struct.pack("<II", revision, len(tensors))
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        data += text(name) + struct.pack("<B", tensor.dim())
        data += struct.pack(f"<{tensor.dim()}I", *tensor.shape)
        number = DTYPES.index(tensor.dtype) if kind is None else kind
        data += struct.pack("<BI", number, len(raw)) + raw
    return data + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/emb")


def write(folder: Path, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(data)
    (folder / "config.json").write_text('{"alignment_heads": [], "lang_ids": []}')
    return folder


@pytest.fixture(scope="module")
def model():
    return stock_whisper()


def converted(model, form: str) -> tuple[dict[str, torch.Tensor], WhisperForConditionalGeneration]:
    """Variables in one type, and the stock model with what is left of its weights."""
    tensors = variables(model)
    if form == "float16":  # in which these weights are exact
        return {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}, model
    if form == "float32":
        return tensors, model
    tensors, rounded = quantized(tensors), stock_whisper()
    encoder = rounded.model.encoder

    def put(name, *modules):
        value = tensors[f"encoder/{name}/weight"].float()
        value = value / tensors[f"encoder/{name}/weight_scale"].reshape(
            -1, *(1,) * (value.dim() - 1)
        )
        for module, rows in zip(modules, value.chunk(len(modules)), strict=True):
            module.weight.data.copy_(rows)

    put("conv1", encoder.conv1)
    put("conv2", encoder.conv2)
    for i, layer in enumerate(encoder.layers):
        attention = layer.self_attn
        names = (attention.q_proj, attention.k_proj, attention.v_proj)
        put(f"layer_{i}/self_attention/linear_0", *names)
        put(f"layer_{i}/self_attention/linear_1", attention.out_proj)
        put(f"layer_{i}/ffn/linear_0", layer.fc1)
        put(f"layer_{i}/ffn/linear_1", layer.fc2)
    return tensors, rounded


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_it_equals_the_same_weights_in_a_stock_folder(model, tmp_path, form):
    tensors, same = converted(model, form)
    folder = write(tmp_path / "faster", packed(tensors))
    same.save_pretrained(tmp_path / "stock")
    assert is_ctranslate2(folder)
    assert not is_ctranslate2(tmp_path / "stock")
    features = {"window_s": 2.0}
    ours, stock = (
        build_encoder("whisper", {}, path, features).eval() for path in (folder, tmp_path / "stock")
    )
    assert ours.arguments == stock.arguments
    weights, expected = ours.state_dict(), stock.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    mel = torch.randn(2, 80, 200)
    with torch.no_grad():
        assert torch.equal(ours(mel).features, same.model.encoder(mel).last_hidden_state)


def test_the_decoder_is_read_by_itself(model, tmp_path):
    folder = write(tmp_path, packed(with_decoder(model)))
    weights, expected = whisper_weights(folder, DECODER), model.model.decoder.state_dict()
    assert weights.keys() == {f"decoder.{name}" for name in expected}
    assert all(torch.equal(weights[f"decoder.{name}"], expected[name]) for name in expected)
    assert decoder_heads(folder) == 2
    assert not any(name.startswith("decoder") for name in whisper_weights(folder))
    folder = write(tmp_path, packed(variables(model)))
    with pytest.raises(ValueError, match="expected decoder/num_heads"):
        decoder_heads(folder)


def test_int8_is_near_what_was_rounded(model):
    exact, (tensors, rounded) = model.model.encoder, converted(model, "int8")
    assert tensors["encoder/conv1/weight"].dtype == torch.int8
    for name, weight in exact.state_dict().items():
        error = (rounded.model.encoder.state_dict()[name] - weight).abs().max()
        assert error <= weight.abs().max() / 127


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 5}, r"expected CTranslate2 format version 6.*got 5"),
        ({"spec": "TransformerSpec"}, r"expected a WhisperSpec model, got 'TransformerSpec'"),
        ({"revision": 2}, r"expected revision 3 of WhisperSpec, got 2"),
        ({"kind": 9}, r"unknown dtype 9; known: 0 torch\.float32"),
        ({"kind": 4}, r"damaged: \S+ is repeated, or its \d+ bytes do not match torch\.float16"),
    ],
)
def test_foreign_files_are_named(model, tmp_path, change, says):
    folder = write(tmp_path, packed(variables(model), **change))
    with pytest.raises(ValueError, match=rf"{tmp_path}/model\.bin.*{says}"):
        Whisper.from_checkpoint(folder)


def test_files_that_are_cut_anywhere_are_named(model, tmp_path):
    whole = packed(variables(model))
    for length in {*range(1, 200, 7), *range(200, len(whole), 997), len(whole) - 1}:
        write(tmp_path, whole[:length])
        with pytest.raises(ValueError, match=rf"{tmp_path}/model\.bin is truncated"):
            read_table(tmp_path / "model.bin")
    write(tmp_path, b"")
    with pytest.raises(ValueError, match="is empty"):
        Whisper.from_checkpoint(tmp_path)
    write(tmp_path, whole + b"\0")
    with pytest.raises(ValueError, match="damaged: 1 bytes of trailing data"):
        Whisper.from_checkpoint(tmp_path)


def test_sizes_that_lie_are_not_believed(model, tmp_path):
    name = text("encoder/conv1/bias")
    whole = packed(variables(model))
    at = whole.index(name) + len(name) + 1
    write(tmp_path, whole[:at] + struct.pack("<I", 2**32 - 1) + whole[at + 4 :])
    with pytest.raises(
        ValueError, match=r"encoder/conv1/bias .*do not match torch\.float32 \[4294967295\]"
    ):
        Whisper.from_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("encoder/conv1/weight", None, r"expected encoder/conv1/weight with 3 dimensions"),
        ("encoder/layer_1/ffn/linear_1/bias", None, r"missing keys: encoder\.layers\.1\.fc2\.bias"),
        ("encoder/layer_0/extra/weight", torch.ones(1), r"unexpected keys: \S+extra/weight"),
        ("encoder/num_heads", torch.tensor(5, dtype=torch.int16), "is not divisible by 5 heads"),
        ("encoder/layer_0/self_attention/linear_0/bias", torch.ones(36), "a key bias"),
        ("encoder/layer_0/self_attention/linear_0/bias", torch.ones(35), "a multiple of 3"),
        ("encoder/conv2/bias", torch.ones(12, dtype=torch.int8), r"int8 without \S+bias_scale"),
        ("encoder/pre_norm", torch.tensor(0, dtype=torch.int8), "post-norm layers"),
    ],
)
def test_another_model_is_named(model, tmp_path, name, value, says):
    tensors = variables(model)
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    with pytest.raises(ValueError, match=says):
        Whisper.from_checkpoint(write(tmp_path, packed(tensors)))


@pytest.mark.shared
def test_the_real_tiny_en():
    folder = weights_folder() / "whisper-tiny.en"
    if not folder.is_dir():
        pytest.skip("needs the weights of `pal weights get small`")
    encoder = Whisper.from_checkpoint(folder).eval()
    assert sum(p.numel() for p in encoder.parameters()) == 8_208_384
    assert encoder.arguments["encoder_attention_heads"] == 6
