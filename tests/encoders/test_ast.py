"""AST: features and forward of transformers, what a tone changes on the grid, checkpoints."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from pal_plugin.encoders import AST, build_encoder, build_features

SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WINDOW_S = 1.04  # 104 frames: 9 patches, and 14 frames behind the last one's start of the next


@pytest.fixture(scope="module")
def stock() -> ASTForAudioClassification:
    torch.manual_seed(0)
    model = ASTForAudioClassification(ASTConfig(**SIZE, max_length=104)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


@pytest.fixture
def ast(stock, tmp_path) -> AST:
    stock.save_pretrained(tmp_path)
    return AST.from_checkpoint(tmp_path).eval()


def noise(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * 16000), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seconds", [0.03, 4.7, 10.24])
def test_features_equal_the_stock_extractor(seconds):
    waveform = noise(seconds) + 0.05  # the reference keeps the clip's mean
    expected = ASTFeatureExtractor()(waveform.numpy(), sampling_rate=16000, return_tensors="pt")
    made = build_features("ast")(waveform)
    assert made["features"].shape == (1, 1024, 128)
    torch.testing.assert_close(made["features"], expected["input_values"], atol=1e-5, rtol=0)
    assert made["frames"].tolist() == [1 + (len(waveform) - 400) // 160]


def test_long_clips_are_one_bank_whose_patches_continue():
    features = build_features("ast")
    assert features.overlap_s == pytest.approx(0.14)
    waveform = noise(25.0)
    whole = build_features("ast", {"window_s": 31.0, "overlap_s": 0.0})(waveform)["features"][0]
    made = features(waveform)
    assert made["frames"].tolist() == [1024, 1024, 2498 - 2020]
    for row, start in enumerate((0, 1010, 2020)):  # 101 patches, 10 frames each, further on
        torch.testing.assert_close(made["features"][row], whole[start : start + 1024])


@torch.no_grad()
def test_tokens_are_those_of_transformers_in_time_major_order(ast, stock):
    mel = torch.randn(2, 104, 128)
    tokens = ast(mel, torch.tensor([104, 31]))
    hidden = stock.audio_spectrogram_transformer(mel).last_hidden_state
    assert tokens.grid == ast.grid == (9, 12)
    for time in range(9):
        for frequency in range(12):
            expected = hidden[:, 2 + frequency * 9 + time]
            torch.testing.assert_close(tokens.features[:, time * 12 + frequency], expected)
    valid = tokens.mask.view(2, 9, 12)
    assert valid.all(-1).sum(1).tolist() == [9, 4]  # patches that start at frames 0, 10, 20, 30
    assert valid.any(-1).sum(1).tolist() == [9, 4]
    assert valid[1, :4].all()


# A cell (i, j) sees 16 frames from 10 i on and 16 of 128 mel bins from 10 j on.
@pytest.mark.parametrize("cell", [(1, 3), (5, 6), (7, 9)])
@torch.no_grad()
def test_a_tone_burst_changes_the_cells_at_its_time_and_frequency_most(cell):
    torch.manual_seed(0)
    encoder = AST(WINDOW_S, **{**SIZE, "num_hidden_layers": 0}).eval()  # no attention: local
    features = build_features("ast", {"window_s": WINDOW_S, "overlap_s": 0.0})
    mel_top = 1127 * math.log(1 + 8000 / 700)
    mel_low = 1127 * math.log(1 + 20 / 700)
    centre = mel_low + (mel_top - mel_low) * (10 * cell[1] + 8 + 1) / 129
    hz = 700 * (math.exp(centre / 1127) - 1)
    waveform = 0.01 * noise(WINDOW_S)
    middle = (10 * cell[0] + 8) * 160 + 200  # of the middle frame's 25 ms
    time = torch.arange(-480, 480)
    burst = 0.5 * torch.hann_window(960) * torch.sin(2 * math.pi * hz * time / 16000)
    louder = waveform.clone()
    louder[middle - 480 : middle + 480] += burst
    quiet, loud = (encoder(features(w)["features"]).features for w in (waveform, louder))
    change = (loud - quiet).norm(dim=-1).view(encoder.grid)
    assert divmod(int(change.argmax()), encoder.grid[1]) == cell


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_become_float32(stock, tmp_path, dtype):
    stock.to(dtype).save_pretrained(tmp_path / "half")
    encoder = AST.from_checkpoint(tmp_path / "half")
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_folder_and_files_of_a_whole_model(ast, stock, tmp_path):
    mel = torch.randn(1, 104, 128)
    public = load_file(tmp_path / "model.safetensors")
    assert any(key.startswith("classifier.") for key in public)  # dropped knowingly
    save_file(public, tmp_path / "public.safetensors")
    save_file(stock.audio_spectrogram_transformer.state_dict(), tmp_path / "bare.safetensors")
    with torch.no_grad():
        expected = ast(mel).features
        for name in ("public", "bare"):
            path = tmp_path / f"{name}.safetensors"
            loaded = build_encoder("ast", SIZE, path, {"window_s": WINDOW_S}).eval()
            torch.testing.assert_close(loaded(mel).features, expected)
    assert ast.window_s == WINDOW_S
    assert ast.span_s == pytest.approx(0.9)


def test_every_wrong_key_is_named(stock, ast, tmp_path):
    weights = load_file(tmp_path / "model.safetensors")
    start = "audio_spectrogram_transformer."
    weights["foreign.bias"] = weights.pop(f"{start}embeddings.cls_token")
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match="does not match AST") as error:
        AST.from_checkpoint(tmp_path / "wrong.safetensors", window_s=2.08, **SIZE)
    for part in ("missing keys: embeddings.cls_token", "unexpected keys: foreign.bias"):
        assert part in str(error.value)
    assert "embeddings.position_embeddings" in str(error.value)
    with pytest.raises(ValueError, match=r"'hidden_sizes' .did you mean 'hidden_size'"):
        build_encoder("ast", {"hidden_sizes": 3})


def test_the_default_is_the_published_model():
    with torch.device("meta"):
        encoder = AST()
    assert encoder.grid == (101, 12)
    assert encoder.span_s == pytest.approx(10.1)
    stored = sum(p.numel() for p in encoder.parameters())
    assert stored / 1e6 == pytest.approx(86.19, abs=0.01)


def test_wrong_inputs_are_explained(ast):
    with pytest.raises(ValueError, match=r"\[W, 104, 128\], got \(1, 100, 128\)"):
        ast(torch.zeros(1, 100, 128))
    with pytest.raises(ValueError, match="steps of 160"):
        build_features("ast", {"window_s": 1.005})
    assert np.isclose(build_features("ast", {"window_s": 5.12}).overlap_s, 0.12)
