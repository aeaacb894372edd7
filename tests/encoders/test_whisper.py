"""Whisper's encoder: features against the stock extractor, valid outputs, checkpoints."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from pal_plugin.encoders import Whisper, build_encoder, build_features

SIZE = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 25,
}


def noise(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * 16000), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.02, 7.3, 30.0])
def test_features_equal_the_stock_extractor(seconds, n_mels):
    waveform = noise(seconds)
    stock = WhisperFeatureExtractor(feature_size=n_mels)(
        waveform.numpy(), sampling_rate=16000, return_tensors="pt"
    )["input_features"]
    made = build_features("whisper", {"n_mels": n_mels})(waveform)
    torch.testing.assert_close(made["features"], stock, atol=1e-5, rtol=0)
    assert made["frames"].tolist() == [round(seconds * 100)]


@torch.no_grad()
def test_valid_outputs_are_half_the_frames_rounded_up():
    encoder = Whisper(**SIZE).eval()
    tokens = encoder(torch.randn(3, 80, 50), torch.tensor([1, 7, 50]))
    assert tokens.features.shape == (3, 25, 16)
    assert tokens.grid is encoder.grid is None
    assert tokens.mask.sum(1).tolist() == [1, 4, 25]
    assert tokens.mask[1, :4].all()
    assert encoder(torch.randn(1, 80, 50)).mask.all()


def test_window_and_positions_are_one_thing():
    assert Whisper(**SIZE).window_s == 0.5
    del (small := dict(SIZE))["max_source_positions"]
    assert Whisper(**small, window_s=2.0).encoder.config.max_source_positions == 100
    assert Whisper(**small).window_s == 30.0
    with pytest.raises(ValueError, match=r"25 is 0\.5 s, but window_s is 2\.0"):
        Whisper(**SIZE, window_s=2.0)


def test_folder_and_files_of_a_whole_model(tmp_path):
    tokens = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    tokens |= {"decoder_start_token_id": 1, "decoder_layers": 1, "decoder_ffn_dim": 8}
    config = WhisperConfig(**SIZE, **tokens, decoder_attention_heads=2)
    whole = WhisperForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = whole.model.encoder
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    mel = torch.randn(2, 80, 50)
    with torch.no_grad():
        expected = encoder(mel).last_hidden_state
        for loaded in (
            Whisper.from_checkpoint(tmp_path),
            Whisper.from_checkpoint(tmp_path / "encoder.safetensors", **SIZE),
        ):
            torch.testing.assert_close(loaded.eval()(mel).features, expected)
    with pytest.raises(ValueError, match=r"has encoder_layers 2, not 1; remove these"):
        Whisper.from_checkpoint(tmp_path, encoder_layers=1)
    file, layers = tmp_path / "encoder.safetensors", {**SIZE, "encoder_layers": 1}
    with pytest.raises(ValueError, match=r"encoder\.layers\.1\.fc1\.bias"):
        Whisper.from_checkpoint(file, **layers)
    assert Whisper.from_checkpoint(tmp_path, dropout=0.1).encoder.dropout == 0.1


@torch.no_grad()
def test_short_windows_hear_with_the_first_positions(tmp_path):
    config = WhisperConfig(**SIZE, decoder_layers=1)
    whole = WhisperEncoder(config).eval()
    whole.save_pretrained(tmp_path)
    for asked in ({"window_s": 0.2}, {"max_source_positions": 10}):
        with pytest.raises(ValueError, match=r"of 0\.5 s, got window_s 0\.2; set features"):
            Whisper.from_checkpoint(tmp_path, **asked)
    # As each of the two ways out that the message names.
    build_encoder("whisper", {}, tmp_path, {"window_s": 0.5})
    short, features = {"short_windows": True}, {"window_s": 0.2}
    encoder = build_encoder("whisper", short, tmp_path, features).eval()
    assert encoder.arguments["max_source_positions"] == 10
    table = whole.embed_positions.weight
    assert torch.equal(encoder.encoder.embed_positions.weight, table[:10])
    # The stock encoder of these positions, all else being the same.
    shorter = WhisperEncoder(WhisperConfig(**{**SIZE, "max_source_positions": 10})).eval()
    shorter.load_state_dict({**whole.state_dict(), "embed_positions.weight": table[:10]})
    mel = torch.randn(1, 80, 20)
    torch.testing.assert_close(encoder(mel).features, shorter(mel).last_hidden_state)
    again = Whisper.from_checkpoint(tmp_path, **encoder.arguments)  # as a saved model is loaded
    assert torch.equal(again.eval()(mel).features, encoder(mel).features)
    alone = Whisper(**encoder.arguments)
    alone.load_state_dict(encoder.state_dict())
    with pytest.raises(ValueError, match=r"of 0\.5 s, got window_s 1; set.*split into windows"):
        build_encoder("whisper", short, tmp_path, {"window_s": 1.0})


def test_wrong_inputs_are_explained():
    with pytest.raises(ValueError, match=r"\[W, 80, 50\], got \(1, 128, 50\)"):
        Whisper(**SIZE)(torch.zeros(1, 128, 50))
    with pytest.raises(ValueError, match=r"got \(80, 50\)"):
        Whisper(**SIZE)(torch.zeros(80, 50))
